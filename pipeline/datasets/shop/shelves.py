"""The listed items of the simulated shop, their stock, and their scheduled changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import Catalogue, Floats, retitled
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import ShopSettings
from pipeline.events import Item

LAUNCH_BOOST = 6.0
"""Factor on the weight of a new item; its excess over 1 falls by a factor e in LAUNCH_INTERACTIONS."""
LAUNCH_INTERACTIONS = 1_500


class Change(NamedTuple):
    """An upsert of the item in a catalogue row."""

    row: int
    item: Item


class Shelves:
    """The first `listed` items of the catalogue, most of them on sale.

    Attributes:
        listed: number of items that have arrived so far.
        on_sale: whether each item of the catalogue is in stock, or will be on arrival (n).
    """

    def __init__(self, settings: ShopSettings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self.listed = settings.items - settings.arrivals
        self.on_sale = np.ones(settings.items, dtype=np.bool_)
        self._launched = np.full(settings.items, -np.inf)
        changing = generator(settings.seed, Purpose.CHANGES).permutation(self.listed).tolist()
        self._to_retitle = changing[: settings.retitled]
        self._to_sell_out = changing[settings.retitled :][: settings.out_of_stock]

    def boosts(self, served: int) -> Floats:
        """Return each listed item's factor for novelty, or 0 if it is not on sale (n)."""
        listed = slice(self.listed)
        age = (served - self._launched[listed]) / LAUNCH_INTERACTIONS
        novelty = 1 + (LAUNCH_BOOST - 1) * np.exp(-age)
        return np.asarray(novelty * self.on_sale[listed])

    def changes(self, served: int) -> Iterator[Change]:
        """Yield the changes due after `served` interactions: an arrival, a new title, an item sold out."""
        items = self._catalogue.items
        if served % self._settings.arrival_every == 0 and self.listed < len(items):
            self._launched[self.listed] = served
            self.listed += 1
            yield Change(self.listed - 1, items[self.listed - 1])
        turn, remainder = divmod(served, self._settings.change_every)
        if remainder:
            return
        for row in self._to_retitle[turn - 1 : turn]:
            yield Change(row, retitled(items[row]))
        for row in self._to_sell_out[turn - 1 : turn]:
            self.on_sale[row] = False
            yield Change(row, items[row].model_copy(update={"available": False}))
