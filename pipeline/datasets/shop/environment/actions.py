"""The actions of the environment: slates."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete

from pipeline.datasets.shop.catalogue import Integers


class Slates(MultiDiscrete[np.int64]):
    """The slates of k of n items: arrays of k indices, no two alike."""

    def __init__(self, items: int, size: int) -> None:
        super().__init__([items] * size)
        self._items, self._size = items, size

    def sample(self, mask: object = None, probability: object = None) -> Integers:
        """Draw a slate; all are equally probable.

        Raises:
            ValueError: a mask or probabilities are given, which say nothing about items that must differ.
        """
        if mask is not None or probability is not None:
            raise ValueError("slates are drawn without a mask and without probabilities")
        return self.np_random.choice(self._items, self._size, replace=False)

    def contains(self, x: Any) -> bool:
        """Return whether x is a slate."""
        return super().contains(x) and len(set(np.asarray(x).tolist())) == self._size
