"""The simulated shop's random generators, one for each purpose."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a generator is for, so that what one draws does not shift what another does."""

    ACTS = 0
    CATALOGUE = 1
    PUBLIC = 2
    ORDER = 3
    CHANGES = 4
    SLATES = 5
    NEW_TASTES = 6
    NEW_DEMAND = 7


def generator(seed: int, purpose: Purpose) -> np.random.Generator:
    """A generator at its beginning, the same in every process."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, purpose], dtype=np.uint64)))
