"""Randomness without state: every draw is determined by seed, generation, step and purpose.

A counter-based generator (Philox; Salmon et al. 2011) has no state to save, and a restarted
learner gets the same draws as before.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purpose of random numbers; each has its own stream."""

    NEGATIVES = 1
    REPLAY = 2
    RESERVOIR = 3
    RETRAIN_ORDER = 4
    RETRAIN_NEGATIVES = 5
    RETRAIN_VIEWS = 6
    RETRAIN_TEXTS = 7
    VALUES = 8
    RETRAIN_REPLAY = 9
    VIEWS = 12


def random_for(seed: int, generation: int, step: int, purpose: Purpose) -> np.random.Generator:
    """Return the generator of one purpose in one step."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, purpose, step, generation]))
