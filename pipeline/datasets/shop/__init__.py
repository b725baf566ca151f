"""The simulated shop: an endless, seeded stream of events with known true preferences."""

from pipeline.datasets.shop.floor import Choice
from pipeline.datasets.shop.settings import Drift, ShopSettings
from pipeline.datasets.shop.shop import Shop

__all__ = ["Choice", "Drift", "Shop", "ShopSettings"]
