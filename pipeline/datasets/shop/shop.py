"""The simulated shop as a data set: its settings determine the stream and the event ids."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from functools import cached_property

from pipeline.datasets.drops import Drops
from pipeline.datasets.shop.floor import Choice, Floor
from pipeline.datasets.shop.settings import ShopSettings
from pipeline.events import Event, Impression, Item, User


class Shop:
    """The simulated shop, a Dataset. Each call of `events` or `choices` starts a new simulation.

    Attributes:
        settings: what the stream follows from.
        drops: always empty, because nothing is read.
    """

    name = "shop"

    def __init__(self, settings: ShopSettings | None = None) -> None:
        self.settings = settings or ShopSettings()
        self.drops = Drops()

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the settings, because they determine the stream."""
        return hashlib.sha256(f"{self.name} 1 {self.settings.canonical}".encode()).hexdigest()

    def events(self) -> Iterator[Event]:
        """Yield the opening catalogue and the members of clubs, then all else by time."""
        for event in self.choices():
            yield event.interaction if isinstance(event, Choice) else event

    def choices(self) -> Iterator[Item | User | Impression | Choice]:
        """Yield the same stream with the true probabilities of each interaction, to score an oracle."""
        floor = Floor(self.settings, self.digest[:16])
        yield from floor.open()
        yield from floor.members()
        for _ in itertools.count() if self.settings.events is None else range(self.settings.events):
            yield from floor.serve()
            yield from floor.stock()
