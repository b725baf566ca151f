"""Scoring: everybody's opinion on the targets of Segments; the same for learner and server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.item_table import Rows
from pipeline.model.mixer import Opinions, from_shares
from pipeline.model.recommender import Recommender
from pipeline.state.evidence import evidence
from pipeline.state.memory import Memory
from pipeline.state.popularity import Popularity
from pipeline.state.segments import Segment


def opinions_on(
    segments: Sequence[Segment],
    users: Tensor,
    recommender: Recommender,
    items: Rows,
    memory: Memory,
    popularity: Popularity,
) -> Opinions:
    """What model, memory, popularity and evidence say of every target of the segments.

    Args:
        segments: with m targets in all.
        users: ``[m, d]`` user vectors before each target.
        recommender: scores users against `items`.
        items: all n rows of the catalogue.
        memory, popularity: over the same n rows.
    """

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(users.device)

    places, amounts = evidence(segments, items.bias.shape[0])
    pasts = [segment.items[:place] for segment in segments for place in segment.targets]
    opens = [segment.baskets[segment.targets] != segment.baskets[segment.targets - 1] for segment in segments]
    return Opinions(
        model=recommender.rank_all(users, items),
        memory=from_shares(tensor(memory.suggest(pasts))),
        popularity=tensor(popularity.log_share()),
        places=tensor(places),
        amounts=tensor(amounts),
        situation=tensor(np.concatenate(opens).astype(np.int64)),
    )
