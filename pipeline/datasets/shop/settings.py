"""Settings of the simulated shop, and the schedules of its drift."""

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

MAX_ACTS = 40
"""Limit of the acts in a visit: rarely reached, and smaller than the smallest shop."""
MIN_ON_SALE = 2 * MAX_ACTS


class Drift(StrEnum):
    """How the users change from the old regime to the new one.

    The terms are those of Gama et al. 2014 (A survey on concept drift adaptation, §2.2).
    """

    NONE = "none"
    ABRUPT = "abrupt"
    """All users at the same time."""
    GRADUAL = "gradual"
    """One user after another, evenly over `drift_span`."""
    RECURRING = "recurring"
    """All users change to the new regime for `drift_span`, back for the same time, and so on."""
    SEASONAL = "seasonal"
    """The share of users in the new regime is a cosine wave with a period of `drift_span`."""


class Modality(StrEnum):
    """What tells the style of an item; the texts do, unless something else does."""

    NONE = "none"
    VECTOR = "vector"
    """A vector named `look`, whose direction is near that of its style."""
    SERIES = "series"
    """A series of numbers in a vector named `look`, whose rhythm is that of its style."""
    NOISE = "noise"
    """Nothing: a vector named `look` that follows from the item alone."""


class Membership(StrEnum):
    """What the attribute `club` of a user says."""

    NONE = "none"
    """There is none."""
    TASTE = "taste"
    """The club of a taste: that of the category of which the user likes most at the opening."""
    NOISE = "noise"
    """Nothing: it is drawn."""


_SHARE: dict[Drift, Callable[[float], float]] = {
    Drift.NONE: lambda spans: 0.0,
    Drift.ABRUPT: lambda spans: 1.0,
    Drift.GRADUAL: lambda spans: min(spans, 1.0),
    Drift.RECURRING: lambda spans: 1.0 - int(spans) % 2,
    Drift.SEASONAL: lambda spans: (1 - math.cos(2 * math.pi * spans)) / 2,
}
"""The share of users under the new regime, as a function of the spans since the drift began."""


@dataclass(frozen=True)
class ShopSettings:
    """Settings of the shop. Times and durations are counted in interactions.

    Attributes:
        seed: seed of all randomness; equal settings give the same stream in every process.
        events: number of interactions in the stream; None for an endless one.
        users: number of users.
        items: size of the final catalogue.
        arrivals: number of the items that arrive after the opening.
        arrival_every: interval between arrivals.
        opening: day of the first visit (00:00 UTC). A day has about 2,000 interactions, so a longer
            stream must open earlier, or its events would be ahead of the clock.
        drift: schedule by which tastes and demand change.
        drift_at: start of the drift; an abrupt one at 0 leaves only the new regime.
        drift_span: duration of a gradual drift, of a recurring regime, or of a season's period.
        dormant: share of the users who begin no visit for a time, and then return.
        dormant_at, dormant_span: start and duration of the dormancy.
        retitled: items of the opening that get a new title, one every `change_every`.
        out_of_stock: other items of the opening that sell out for good, one every `change_every`.
        change_every: interval between such changes.
        slate: number of items shown before an act, as an Impression; 0 shows none.
        modality: what tells the styles of items. What users choose does not depend on it.
        style: weight of styles in what users choose: log-odds are multiplied by it.
        membership: what an attribute of users says. What users choose does not depend on it.

    Raises:
        DatasetError: a setting is out of bounds.
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
    modality: Modality = Modality.NONE
    style: float = 1.0
    membership: Membership = Membership.NONE

    def __post_init__(self) -> None:
        endless, spare = 2**63 - 1, self.items - MIN_ON_SALE
        bounds: dict[str, tuple[float, float] | tuple[date, date]] = {
            "seed": (0, endless),
            "users": (1, 100_000),
            "items": (MIN_ON_SALE, LARGEST_CATALOGUE),
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
            "slate": (0, MIN_ON_SALE),
            "style": (0.0, 4.0),
        }
        for name, (lowest, highest) in bounds.items():
            if not lowest <= getattr(self, name) <= highest:
                raise DatasetError(f"shop: {name} must be from {lowest} to {highest}")
        if self.events is not None and self.events < 0:
            raise DatasetError("shop: events must not be negative")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse settings such as ``seed=7,drift=abrupt``; the others keep their defaults.

        Raises:
            DatasetError: a name is unknown, or a value is malformed or out of bounds.
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
        """Start of the first visit, in milliseconds since the Unix epoch."""
        return int(datetime.combine(self.opening, time(), UTC).timestamp()) * 1000

    @property
    def canonical(self) -> str:
        """The settings as JSON, to distinguish streams.

        Settings added after the first release are included only if they differ from their default,
        so that the event ids of existing streams do not change.
        """
        chosen = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in _FIRST or getattr(self, field.name) != field.default
        }
        return json.dumps(chosen, sort_keys=True, default=str)

    def drifted(self, interactions: int) -> float:
        """Return the share of the users under the new regime after a number of interactions.

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
    Modality: Modality,
    Membership: Membership,
}
_FORMS = {
    int: "NUMBER",
    float: "SHARE",
    date: "YYYY-MM-DD",
    Drift: "|".join(Drift),
    Modality: "|".join(Modality),
    Membership: "|".join(Membership),
}


def _supported(defaults: dict[str, object]) -> str:
    return ", ".join(f"{name}={_FORMS[type(default)]}" for name, default in defaults.items())
