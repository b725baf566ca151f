"""Make answers diverse: reorder ranked items so that near ones are not side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POOL, MOST_POOL = 10, 1_000
"""Diverse items are picked among the best of POOL times as many, for what is far below is no alternative; and
of at most so many, because the cost grows with the square."""


def pool_size(k: int) -> int:
    """Return the number of items among which k are picked."""
    return max(k, min(POOL * k, MOST_POOL))


def diversified(
    scores: NDArray[np.float64], vectors: NDArray[np.float32], diversity: float
) -> NDArray[np.int64]:
    """Order items, each by its score and by how far it is from those before it.

    Maximal marginal relevance (Carbonell & Goldstein 1998). Scores are scaled to [0, 1] within the pool, so
    that a diversity means the same for every user.

    Args:
        scores: ``[m]``, highest first.
        vectors: ``[m, d]`` of length 1.
        diversity: 0 keeps the order; 1 looks at the vectors alone, after the first item.

    Returns:
        The indices ``[m]`` in their new order.
    """
    relevance = (1 - diversity) * _scaled(scores)
    nearest = np.zeros(scores.size)
    left = np.ones(scores.size, dtype=np.bool_)
    picked: list[int] = []
    for _ in range(scores.size):
        best = int(np.where(left, relevance - diversity * nearest, -np.inf).argmax())
        left[best] = False
        picked.append(best)
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return np.array(picked, dtype=np.int64)


def _scaled(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    span = scores[0] - scores[-1] if scores.size else 0.0
    return (scores - scores[-1]) / span if span else np.ones(scores.size)
