"""What may be chosen about the simulated shop, and when its public drifts."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any, Self

from pipeline.datasets.shop.catalogue import LARGEST_CATALOGUE
from pipeline.errors import DatasetError

MOST_ACTS = 40
"""Acts in a visit, far more than one ever needs; keeps it smaller than the smallest shop."""
FEWEST_ON_SALE = 2 * MOST_ACTS


class Drift(StrEnum):
    """How the public passes from the old regime to the new one.

    In terms of Gama et al. 2014 (A survey on concept drift adaptation, §2.2).
    """

    NONE = "none"
    ABRUPT = "abrupt"
    """All users at once."""
    GRADUAL = "gradual"
    """One user after another, evenly over `drift_span`."""
    RECURRING = "recurring"
    """All users to the new regime for `drift_span`, back for as long, and so on."""
    SEASONAL = "seasonal"
    """User by user there and back, as a cosine wave with a year of `drift_span`."""


_SHARE: dict[Drift, Callable[[float], float]] = {
    Drift.NONE: lambda spans: 0.0,
    Drift.ABRUPT: lambda spans: 1.0,
    Drift.GRADUAL: lambda spans: min(spans, 1.0),
    Drift.RECURRING: lambda spans: 1.0 - int(spans) % 2,
    Drift.SEASONAL: lambda spans: (1 - math.cos(2 * math.pi * spans)) / 2,
}
"""The share of users under the new regime, by spans since the drift began."""


@dataclass(frozen=True)
class ShopSettings:
    """What may be chosen about the shop. Moments and spans are counted in interactions.

    Attributes:
        seed: of everything; the same settings are the same stream in every process.
        events: interactions until the stream ends; None never ends it.
        users: who come to the shop.
        items: in the catalogue, in the end.
        arrivals: how many of the items are not there at the opening.
        arrival_every: from one arrival to the next.
        opening: day of the first visit (00:00 UTC). A day of the shop has some 2,000 interactions:
            a longer stream opens earlier, lest its events be ahead of the clock.
        drift: how tastes change, and what goes together.
        drift_at: when the drift begins; 0 for a shop that knows the new regime only.
        drift_span: how long a gradual drift takes, a recurring regime lasts, or a year is.
        dormant: share of the users who begin no visit for a while, and then return.
        dormant_at, dormant_span: since when, and for how long.
        retitled: items of the opening that get a new title, one every `change_every`.
        out_of_stock: other items of the opening that sell out for good, one every `change_every`.
        change_every: from one such change to the next.
        slate: items that a visitor is shown before an act, as an Impression; 0 shows none.

    Raises:
        DatasetError: a setting is out of its bounds.
    """

    seed: int = 0
    events: int | None = 20_000
    users: int = 600
    items: int = 1_500
    arrivals: int = 300
    arrival_every: int = 60
    opening: date = date(2026, 1, 1)
    drift: Drift = Drift.NONE
    drift_at: int = 10_000
    drift_span: int = 5_000
    dormant: float = 0.0
    dormant_at: int = 5_000
    dormant_span: int = 5_000
    retitled: int = 0
    out_of_stock: int = 0
    change_every: int = 500
    slate: int = 0

    def __post_init__(self) -> None:
        endless, spare = 2**63 - 1, self.items - FEWEST_ON_SALE
        bounds: dict[str, tuple[float, float] | tuple[date, date]] = {
            "seed": (0, endless),
            "users": (1, 100_000),
            "items": (FEWEST_ON_SALE, LARGEST_CATALOGUE),
            "arrivals": (0, spare),
            "arrival_every": (1, endless),
            "opening": (date(1970, 1, 1), date(2500, 1, 1)),
            "drift_at": (0, endless),
            "drift_span": (1, endless),
            "dormant": (0.0, 0.9),
            "dormant_at": (0, endless),
            "dormant_span": (1, endless),
            "retitled": (0, spare - self.arrivals),
            "out_of_stock": (0, spare - self.arrivals - self.retitled),
            "change_every": (1, endless),
            "slate": (0, FEWEST_ON_SALE),
        }
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) <= most:
                raise DatasetError(f"shop: {name} must be from {least} to {most}")
        if self.events is not None and self.events < 0:
            raise DatasetError("shop: events must not be negative")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read settings as in ``seed=7,drift=abrupt``; what is not named keeps its default.

        Raises:
            DatasetError: a name is unknown, or its value cannot be read or is out of bounds.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        settings: dict[str, Any] = {}
        for setting in filter(None, text.split(",")):
            name, _, value = setting.partition("=")
            try:
                settings[name] = _READERS[type(defaults[name])](value)
            except (KeyError, ValueError):
                raise DatasetError(f"shop: found {setting!r}; supported is {_supported(defaults)}") from None
        return cls(**settings)

    @property
    def opening_ms(self) -> int:
        """When the first visit begins, in milliseconds since the Unix epoch."""
        return int(datetime.combine(self.opening, time(), UTC).timestamp()) * 1000

    @property
    def canonical(self) -> str:
        """The settings as JSON, to tell streams apart.

        What is not among the first settings is named only where it is chosen: a setting that is
        added leaves the event ids of existing streams as they are.
        """
        chosen = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in _FIRST or getattr(self, field.name) != field.default
        }
        return json.dumps(chosen, sort_keys=True, default=str)

    def drifted(self, interactions: int) -> float:
        """Share of the users who live by the new regime after so many interactions.

        >>> ShopSettings(drift=Drift.GRADUAL, drift_at=1_000, drift_span=400).drifted(1_100)
        0.25
        """
        spans = (interactions - self.drift_at) / self.drift_span
        return _SHARE[self.drift](spans) if spans >= 0 else 0.0


_FIRST = ("seed", "events", "users", "items", "arrivals", "arrival_every")
_READERS: dict[type, Callable[[str], object]] = {
    int: int,
    float: float,
    date: date.fromisoformat,
    Drift: Drift,
}
_FORMS = {int: "NUMBER", float: "SHARE", date: "YYYY-MM-DD", Drift: "|".join(Drift)}


def _supported(defaults: dict[str, object]) -> str:
    return ", ".join(f"{name}={_FORMS[type(default)]}" for name, default in defaults.items())
