"""Random generators of the simulated shop, one for each purpose."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purpose of a generator. With one each, extra draws for one purpose do not shift the others."""

    ACTS = 0
    CATALOGUE = 1
    PUBLIC = 2
    ORDER = 3
    CHANGES = 4
    SLATES = 5
    NEW_TASTES = 6
    NEW_DEMAND = 7
    FASHIONS = 8
    CONVERSIONS = 9
    NOISE = 10
    LOOKS = 11
    MEMBERSHIPS = 12


def generator(seed: int, purpose: Purpose) -> np.random.Generator:
    """Create a generator in its initial state; the same in every process."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, purpose], dtype=np.uint64)))


def of_item(seed: int, item: str) -> np.random.Generator:
    """Create the generator of what is an item's own, whatever other items there are."""
    key = int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.Philox(key=np.array([seed, key], dtype=np.uint64)))
