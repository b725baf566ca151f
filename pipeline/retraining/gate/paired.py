"""Paired differences of two models, and confidence bounds of their mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from pipeline.config import SamplingConfig

Values = NDArray[np.float64]
Numbers = NDArray[np.int64]
MAX_DRAWS = 1_000_000
"""Users drawn per batch; limits the bootstrap's memory to some 50 MB."""


class Gain(NamedTuple):
    """A mean over targets, and its one-sided lower and upper bound."""

    mean: float
    low: float
    high: float


def gain_of(differences: Values, users: Numbers, sampling: SamplingConfig) -> Gain:
    """Compute the mean of paired differences ``[m]`` of two or more users ``[m]``, with its bounds.

    The differences of one user's targets are correlated, so whole users are drawn: the cluster
    bootstrap (Field & Welsh 2007, "Bootstrapping clustered data"). Of scipy's methods,
    percentile had the best coverage: with very unequal numbers of targets per user (30 to 300
    users, 7 to 36 effective), lower bounds at 99 % were too high in 1.2 to 2.4 % of trials;
    those of basic in 2.8 to 9.1 %, of BCa in 3.2 to 4.6 %.
    """
    indices = _in_order_of_appearance(users)
    sums, counts = np.bincount(indices, weights=differences), np.bincount(indices)
    bounds = bootstrap(
        (sums, counts),
        _mean,
        paired=True,
        vectorized=True,
        axis=-1,
        n_resamples=sampling.resamples,
        batch=max(1, MAX_DRAWS // counts.size),
        confidence_level=2 * sampling.confidence - 1,
        method="percentile",
        rng=np.random.default_rng(sampling.seed),
    ).confidence_interval
    return Gain(float(differences.mean()), float(bounds.low), float(bounds.high))


def effective_users(users: Numbers) -> float:
    """Effective number of users: of users with equal numbers of targets (Kish 1965); 0 without users.

    >>> effective_users(np.array([1, 1, 2, 2]))
    2.0
    """
    counts = np.unique(users, return_counts=True)[1]
    return float(counts.sum() ** 2 / max(1, np.square(counts).sum()))


def _mean(sums: Values, counts: Values, axis: int) -> Values:
    mean: Values = sums.sum(axis=axis) / counts.sum(axis=axis)
    return mean


def _in_order_of_appearance(users: Numbers) -> NDArray[np.intp]:
    """Renumber users in order of appearance, so that the draws do not depend on their numbers."""
    _, first, indices = np.unique(users, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[indices]
