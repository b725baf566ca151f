"""Slates of the simulated shop: a randomised logging policy, and a model of clicks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.shop.catalogue import Floats, Integers
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import ShopSettings

LURE = 16.0
"""Extra weight of an item in the first position, on top of 1 for any item on sale."""


class Slate(NamedTuple):
    """Shown items, the topmost first.

    A position-based click model (Richardson et al. 2007) within the multinomial logit choice: the
    weight of the item in position k is multiplied by (1 + LURE / k). A choice that is due to the
    added part is a click.

    Attributes:
        impression: id of the Impression.
        items: indices into the catalogue (k).
        scores: share of each item in the weights of all on sale (k).
        propensities: probability of each item to be in its position, given those above it (k).
        pool: number of items on sale.
    """

    impression: str
    items: Integers
    scores: Floats
    propensities: Floats
    pool: int

    def sway(self, probabilities: Floats) -> Floats:
        """Return the probabilities of the next act after the slate is shown (n)."""
        swayed = probabilities.copy()
        swayed[self.items] *= 1 + self._lures()
        return np.asarray(swayed / swayed.sum())

    def earns(self, item: int, rng: np.random.Generator) -> bool:
        """Draw whether an item was chosen because the slate showed it."""
        lure = float(self._lures()[self.items == item].sum())
        return rng.random() * (1 + lure) < lure

    def _lures(self) -> Floats:
        return LURE / np.arange(1, self.items.size + 1)


class LoggingPolicy:
    """Ranks items at random by a Plackett-Luce model, weighted by their acts so far.

    Args:
        settings: number of items, and of items in a slate.
        prefix: prefix of the impression ids.
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
        # Gumbel-top-k draws without replacement (Kool et al. 2019); an item not on sale has -inf.
        with np.errstate(divide="ignore"):
            keys = np.log(weights) + self._rng.gumbel(size=weights.size)
        items = np.argsort(keys)[: -self._size - 1 : -1]
        shown = weights[items]
        remaining = weights.sum() - np.cumsum(shown) + shown  # weight still undrawn at each position
        self._shown += 1
        return Slate(
            f"{self._prefix}-s{self._shown}",
            items,
            shown / weights.sum(),
            np.minimum(shown / remaining, 1.0),
            int(np.count_nonzero(weights)),
        )

    def count(self, item: int) -> None:
        """Count an act on an item."""
        self._acts[item] += 1
