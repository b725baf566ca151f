"""Make answers diverse: reorder ranked items so that near ones are not side by side, and cap categories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POOL = 10
"""Diverse items are picked among the best of POOL times as many: what is far below is no alternative."""


def diversified(
    scores: NDArray[np.float64], vectors: NDArray[np.float32], diversity: float, count: int
) -> list[int]:
    """Pick items one by one, each by its score and by how far it is from those picked before.

    Maximal marginal relevance (Carbonell & Goldstein 1998). Scores are scaled to [0, 1] within the pool, so
    that a diversity means the same for every user.

    Args:
        scores: ``[m]``, highest first.
        vectors: ``[m, d]`` of length 1.
        diversity: 0 keeps the order; 1 looks at the vectors alone, after the first item.
        count: number of items to pick.

    Returns:
        The indices picked, in order.
    """
    relevance = (1 - diversity) * _scaled(scores)
    nearest = np.zeros(scores.size)
    left = np.ones(scores.size, dtype=np.bool_)
    picked: list[int] = []
    for _ in range(min(count, scores.size)):
        best = int(np.where(left, relevance - diversity * nearest, -np.inf).argmax())
        left[best] = False
        picked.append(best)
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return picked


def capped(groups: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """Mask ``[m]`` of ranked items that leaves at most `most` of each group; those below 0 have no group."""
    order = np.argsort(groups, kind="stable")
    sorted_groups = groups[order]
    starts = np.searchsorted(sorted_groups, sorted_groups)
    kept = np.empty(groups.size, dtype=np.bool_)
    kept[order] = (np.arange(groups.size) - starts < most) | (sorted_groups < 0)
    return kept


def _scaled(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    span = scores[0] - scores[-1] if scores.size else 0.0
    return (scores - scores[-1]) / span if span else np.ones(scores.size)
