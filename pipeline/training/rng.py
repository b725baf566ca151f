"""Randomness without state: every draw follows from seed, generation, step and purpose.

A counter-based generator (Philox; Salmon et al. 2011) needs no state to be saved and gives
a restarted learner the draws of the one before it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What numbers are drawn for; each purpose has a stream of its own."""

    NEGATIVES = 1
    REPLAY = 2
    RESERVOIR = 3
    RETRAIN_ORDER = 4
    RETRAIN_NEGATIVES = 5
    RETRAIN_VIEWS = 6
    RETRAIN_TEXTS = 7


def random_for(seed: int, generation: int, step: int, purpose: Purpose) -> np.random.Generator:
    """The generator of one purpose in one step."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, purpose, step, generation]))
