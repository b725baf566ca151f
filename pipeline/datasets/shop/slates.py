"""What the simulated shop shows: slates of a randomised logging policy, and how they are noticed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.shop.catalogue import Floats, Integers
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import ShopSettings

LURE = 16.0
"""How much more an item is sought that is surely looked at, on top of 1 for any item on sale."""


class Slate(NamedTuple):
    """Items as they are shown, the first on top.

    A position-based click model (Richardson et al. 2007) within the multinomial logit choice: the
    item in place k is sought (1 + LURE / k) times as much, and the surplus is what the slate
    earned: such a choice is a click.

    Attributes:
        impression: id of the Impression.
        items: indices into the catalogue (k).
        propensities: of each item to be in its place, given those above it (k).
    """

    impression: str
    items: Integers
    propensities: Floats

    def sway(self, probabilities: Floats) -> Floats:
        """The probabilities of the next act, now that the slate is seen (n)."""
        swayed = probabilities.copy()
        swayed[self.items] *= 1 + self._lures()
        return np.asarray(swayed / swayed.sum())

    def earns(self, item: int, rng: np.random.Generator) -> bool:
        """Draw whether a chosen item was chosen because the slate showed it."""
        lure = float(self._lures()[self.items == item].sum())
        return rng.random() * (1 + lure) < lure

    def _lures(self) -> Floats:
        return LURE / np.arange(1, self.items.size + 1)


class LoggingPolicy:
    """Shows items at random, the popular ones more often: a Plackett-Luce ranking by acts so far.

    Args:
        settings: how many items there are, and how many a slate shows.
        prefix: of the ids of the impressions.
    """

    def __init__(self, settings: ShopSettings, prefix: str) -> None:
        self._size = settings.slate
        self._acts = np.ones(settings.items)
        self._prefix = prefix
        self._rng = generator(settings.seed, Purpose.SLATES)
        self._shown = 0

    def show(self, on_sale: NDArray[np.bool_]) -> Slate:
        """Draw the next slate from the listed items that are on sale (n)."""
        weights = self._acts[: on_sale.size] * on_sale
        # Gumbel-top-k draws without replacement (Kool et al. 2019); who is not on sale has -inf.
        with np.errstate(divide="ignore"):
            keys = np.log(weights) + self._rng.gumbel(size=weights.size)
        items = np.argsort(keys)[: -self._size - 1 : -1]
        shown = weights[items]
        left = weights.sum() - np.cumsum(shown) + shown
        self._shown += 1
        return Slate(f"{self._prefix}-s{self._shown}", items, np.minimum(shown / left, 1.0))

    def count(self, item: int) -> None:
        """Count an act."""
        self._acts[item] += 1
