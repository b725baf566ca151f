"""The unsupervised objective: two views of one history should be more alike than two histories.

CL4SRec (Xie et al. 2022, Contrastive Learning for Sequential Recommendation): a view is a
history with a random share of its acts left out; InfoNCE (van den Oord et al. 2018) over
the user vectors after the last act.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from pipeline.model.item_table import ItemTable
from pipeline.model.recommender import Recommender
from pipeline.model.sequences import pack
from pipeline.state.segments import Segment
from pipeline.training.optimizer import Touched

LEFT_OUT = 0.3
"""Share of the acts that a view lacks."""
TEMPERATURE = 0.1


def contrast(
    recommender: Recommender, table: ItemTable, segments: Sequence[Segment], random: np.random.Generator
) -> tuple[Tensor, Touched]:
    """The mean InfoNCE loss of the Segments' views, and the table rows that took part."""
    views = [thinned(segment, random) for _ in range(2) for segment in segments]
    packed = pack(views, table.all().bias.device)
    touched, where = torch.unique(packed.items.flatten()[packed.indices], return_inverse=True)
    rows = table.rows(touched)
    vectors = recommender.item_vectors(rows)[where]
    users = recommender.user_vectors(vectors, packed)
    lasts = torch.from_numpy(np.cumsum([len(view) for view in views]) - 1).to(users.device)
    return _info_nce(normalize(users[lasts], dim=1)), Touched(touched, rows)


def thinned(segment: Segment, random: np.random.Generator) -> Segment:
    """A view: the Segment without a random share of its acts, at least one left."""
    left = random.random(len(segment)) >= LEFT_OUT
    left[random.integers(len(segment))] = True
    return Segment(
        segment.items[left],
        segment.types[left],
        segment.values[left],
        segment.gaps[left],
        segment.baskets[left],
        int(left[: segment.first_new].sum()),
    )


def _info_nce(views: Tensor) -> Tensor:
    """Of unit vectors ``[2m, d]``, whose i-th and (m + i)-th are views of the same."""
    count = views.shape[0]
    alike = (views @ views.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return cross_entropy(alike, torch.arange(count, device=views.device).roll(count // 2))
