"""Contrastive views: two views of one history should be more similar than two histories.

CL4SRec (Xie et al. 2022, Contrastive Learning for Sequential Recommendation): a view is a
history without a random share of its acts; InfoNCE (van den Oord et al. 2018) over the user
vectors after the last act.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from pipeline.model.sequences import pack
from pipeline.state.segments import Segment
from pipeline.training.objectives.port import HistoryBatch
from pipeline.training.optimizer import Touched

DROPPED = 0.3
"""Share of the acts that a view lacks."""
TEMPERATURE = 0.1


class Contrastive:
    """InfoNCE of two views of each history."""

    def loss(self, histories: HistoryBatch) -> tuple[Tensor, Touched]:
        """Return the mean InfoNCE loss of the Segments' views, and the table rows involved."""
        recommender, table, segments, _, random = histories
        views = [view_of(segment, random) for _ in range(2) for segment in segments]
        packed = pack(views, table.all().bias.device)
        touched, where = torch.unique(packed.items.flatten()[packed.indices], return_inverse=True)
        rows = table.rows(touched)
        vectors = recommender.item_vectors(rows)[where]
        lasts = torch.from_numpy(np.cumsum([len(view) for view in views]) - 1).to(vectors.device)
        users = recommender.user_vectors(vectors, packed, lasts)
        return _info_nce(normalize(users, dim=1)), Touched(touched, rows)


def view_of(segment: Segment, random: np.random.Generator) -> Segment:
    """Make a view: the Segment without a random share of its acts; at least one act stays."""
    kept = random.random(len(segment)) >= DROPPED
    kept[random.integers(len(segment))] = True
    return segment.select(kept, int(kept[: segment.first_new].sum()))


def _info_nce(views: Tensor) -> Tensor:
    """InfoNCE of unit vectors ``[2m, d]``, whose i-th and (m + i)-th are views of one history."""
    count = views.shape[0]
    similarities = (views @ views.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return cross_entropy(similarities, torch.arange(count, device=views.device).roll(count // 2))
