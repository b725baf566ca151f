"""Scores of one target, as tests need them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.evaluation.prequential import SCORERS, Scores, TargetScores, empty_scores


def scores(rank: float, mixed: float | None = None) -> Scores:
    """A target that every scorer gives this rank and log-loss, but for the mixture, if it has its own."""
    ranks = {**dict.fromkeys(SCORERS, rank), "mixture": mixed or rank}
    by_scorer = {name: TargetScores(np.array([r]), -np.array([r])) for name, r in ranks.items()}
    return replace(empty_scores(), by_scorer=by_scorer, slices={"all": np.ones(1, dtype=np.bool_)})
