"""The model: a rating is what everyone gives the item, and how much this user deviates from everyone.

What everyone gives is linear in the item's content vector, plus an effect of the item itself. The deviations
of a user are a Gaussian process over the user's own ratings (Rasmussen and Williams 2006): a part that
lasts, one that passes with the mood, and one that items of like content share. So nothing is stored of a
user, and a history from anywhere is enough to predict from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from pipeline.config import RatingsConfig

Floats = NDArray[np.float64]


class RatedItems(NamedTuple):
    """What everyone knows of n items; oldest first, where one user has rated them.

    Attributes:
        content: ``[n, d]`` vectors.
        effects: ``[n]`` what each item adds, see `RatingLearner`.
    """

    content: Floats
    effects: Floats

    def expected(self, head: Floats) -> Floats:
        """Return what everyone gives the items, ``[n]``, by a head ``[1 + d]``: constant and weights."""
        found: Floats = head[0] + self.content @ head[1:] + self.effects
        return found


class RatingModel(NamedTuple):
    """What a snapshot knows of ratings.

    Attributes:
        head: ``[1 + d]``, see `RatedItems.expected`.
        effects: ``[n]`` of its items.
    """

    head: Floats
    effects: NDArray[np.float32]
    config: RatingsConfig

    def effects_of(self, rows: NDArray[np.int64]) -> Floats:
        """Return the effects of rows ``[k]``; 0 of items that are newer than the snapshot."""
        found, known = np.zeros(len(rows)), rows < len(self.effects)
        found[known] = self.effects[rows[known]]
        return found


def covariance(content: Floats, config: RatingsConfig) -> Floats:
    """Covariance ``[n, n]`` of one user's deviations on n items, in the order of their ratings."""
    order = np.arange(len(content))
    apart = np.abs(order[:, None] - order)
    mood = config.mood * np.exp(-apart / config.mood_ratings)
    found: Floats = config.lasting + mood + config.taste * (content @ content.T)
    return found


def noisy_factor(covariances: Floats) -> Floats:
    """Cholesky factor ``[n, n]`` of covariances with the noise of each rating."""
    factor: Floats = cholesky(covariances + np.eye(len(covariances)), lower=True, check_finite=False)
    return factor


def predicted(head: Floats, items: RatedItems, ratings: Floats, config: RatingsConfig) -> float:
    """Predict a user's rating of the last of n + 1 items from the ratings ``[n]`` of the others."""
    expected = items.expected(head)
    between = covariance(items.content, config)
    deviations = np.clip(ratings, config.lowest, config.highest) - expected[:-1]
    explained = cho_solve((noisy_factor(between[:-1, :-1]), True), deviations) if ratings.size else deviations
    return float(np.clip(expected[-1] + between[-1, :-1] @ explained, config.lowest, config.highest))
