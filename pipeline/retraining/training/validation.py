"""Validation: how well a model predicts acts that it has not learned, ranking all items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.evaluation.prequential import per_target, rank_targets
from pipeline.model.item_table import ItemTable
from pipeline.model.losses import Negatives
from pipeline.model.recommender import Recommender
from pipeline.state.segments import Segment
from pipeline.training.forward import forward
from pipeline.training.learner import Learner

SEGMENTS_PER_PASS = 32
"""Limits memory use: a pass holds a score for each target and catalogue item."""

Predictor = Callable[[Sequence[Segment], Tensor], Tensor]
"""Returns log-probabilities ``[m, n]`` for the Segments' m targets, from the user vectors ``[m, d]``
before each target."""


class Validation(NamedTuple):
    """Means over the targets; log-loss in nats over the full catalogue."""

    log_loss: float
    ndcg: float
    targets: int


def validate(recommender: Recommender, table: ItemTable, segments: Sequence[Segment]) -> Validation:
    """Rank the new acts of Segments with the model alone, without learning."""
    return _validated(recommender, table, segments, lambda _, users: recommender.rank_all(users, table.all()))


def validate_mixture(learner: Learner, segments: Sequence[Segment]) -> Validation:
    """Rank the new acts of Segments with the mixture of a learner, without learning."""
    return _validated(learner.recommender, learner.table, segments, learner.mixture)


@torch.no_grad()
def _validated(
    recommender: Recommender, table: ItemTable, segments: Sequence[Segment], predict: Predictor
) -> Validation:
    bias = table.all().bias
    unused = Negatives(bias.new_zeros(1, dtype=torch.int64), torch.zeros_like)
    losses, gains = list[float](), list[float]()
    for start in range(0, len(segments), SEGMENTS_PER_PASS):
        part = segments[start : start + SEGMENTS_PER_PASS]
        passed = forward(recommender, table, part, unused)
        figures = per_target(rank_targets(predict(part, passed.users[passed.new]), passed.items[passed.new]))
        losses += figures["log_loss"].tolist()
        gains += figures["ndcg@20"].tolist()
    return Validation(float(np.mean(losses)), float(np.mean(gains)), len(losses))
