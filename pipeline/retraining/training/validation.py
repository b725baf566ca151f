"""Validation: how well what is to come is foreseen, all items ranked, without learning it."""

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

TOGETHER = 32
"""Segments in a forward pass; what bounds the memory is their targets times the catalogue."""

Say = Callable[[Sequence[Segment], Tensor], Tensor]
"""Log-probabilities ``[m, n]`` of the Segments' m targets, given the users ``[m, d]`` before them."""


class Validation(NamedTuple):
    """Means over so many targets; log-loss in nats over the full catalogue."""

    log_loss: float
    ndcg: float
    targets: int


def validate(recommender: Recommender, table: ItemTable, segments: Sequence[Segment]) -> Validation:
    """Rank the new acts of Segments with the model alone; changes nothing."""
    return _validated(recommender, table, segments, lambda _, users: recommender.rank_all(users, table.all()))


def validate_mixture(learner: Learner, segments: Sequence[Segment]) -> Validation:
    """Rank the new acts of Segments with the mixture of a learner; changes nothing."""
    return _validated(learner.recommender, learner.table, segments, learner.mixture)


@torch.no_grad()
def _validated(
    recommender: Recommender, table: ItemTable, segments: Sequence[Segment], say: Say
) -> Validation:
    bias = table.all().bias
    unused = Negatives(bias.new_zeros(1, dtype=torch.int64), torch.zeros_like(bias))
    losses, gains = list[float](), list[float]()
    for start in range(0, len(segments), TOGETHER):
        part = segments[start : start + TOGETHER]
        passed = forward(recommender, table, part, unused)
        figures = per_target(rank_targets(say(part, passed.users[passed.new]), passed.items[passed.new]))
        losses += figures["log_loss"].tolist()
        gains += figures["ndcg@20"].tolist()
    return Validation(float(np.mean(losses)), float(np.mean(gains)), len(losses))
