"""The simulated shop as a gymnasium environment, for learners of policies; true values are known."""

try:
    import gymnasium as _gymnasium  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "the shop's environment needs gymnasium: pip install 'millstream[environment]'"
    ) from missing

from pipeline.datasets.shop.environment.environment import ShopEnvironment
from pipeline.datasets.shop.environment.settings import EnvironmentSettings

__all__ = ["EnvironmentSettings", "ShopEnvironment"]
