"""Settings of the shop as an environment."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.datasets.shop.catalogue import LARGEST_CATALOGUE
from pipeline.errors import DatasetError


@dataclass(frozen=True)
class EnvironmentSettings:
    """Settings of the environment.

    Attributes:
        seed: seed of users, items and what is liked; the acts follow from the seed of a reset.
        users: number of users.
        items: number of items; all of them are candidates for every slate.
        slate: number of items that are shown at a time.
        tires: whether interest in a category tires when it is shown.
        drift_at: number of slates after which another fashion replaces that of the opening; None for never.

    Raises:
        DatasetError: a setting is out of bounds.
    """

    seed: int = 0
    users: int = 200
    items: int = 500
    slate: int = 5
    tires: bool = True
    drift_at: int | None = None

    def __post_init__(self) -> None:
        bounds = {
            "seed": (0, 2**63 - 1),
            "users": (1, 10_000),
            "items": (1, LARGEST_CATALOGUE),
            "slate": (1, self.items),
        }
        for name, (lowest, highest) in bounds.items():
            if not lowest <= getattr(self, name) <= highest:
                raise DatasetError(f"shop environment: {name} must be from {lowest} to {highest}")
        if self.drift_at is not None and self.drift_at < 0:
            raise DatasetError("shop environment: drift_at must not be negative")
