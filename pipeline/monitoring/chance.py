"""Figures that do not get worse because the catalogue grows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.prequential import TargetScores


def above_chance(scores: TargetScores, items: int) -> NDArray[np.float64]:
    """Compute how far log-probabilities ``[m]`` are above that of a draw from all `items`, in nats.

    New items take probability from those before them. A catalogue that grows k-fold may so lower a
    log-probability by log k though nothing has become worse, and this figure not at all.
    """
    chance: NDArray[np.float64] = scores.log_probabilities + np.log(max(items, 1))
    return chance
