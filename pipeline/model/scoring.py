"""Score the targets of Segments with every scorer; the learner and the server share this code.

A score is a matrix of targets by items. Processing a few targets at a time keeps the intermediate
matrices in the processor's cache: measured, this takes half the time of all 250 targets of a batch
at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.item_table import Rows
from pipeline.model.mixer import ScorerOutputs, from_biases, from_shares
from pipeline.model.recommender import Recommender
from pipeline.model.sequences import pack
from pipeline.state.covisitation import Covisitation
from pipeline.state.evidence import evidence
from pipeline.state.popularity import Popularity
from pipeline.state.segments import Segment

TARGETS_AT_ONCE = 64


def users_before_last(
    segments: Sequence[Segment], recommender: Recommender, items: Rows, context: int
) -> Tensor:
    """Compute user vectors ``[m, d]`` before the last act of m segments, from at most `context` acts.

    Each segment must have at least two acts.
    """
    recent = [segment.cut(max(0, len(segment) - 1 - context), len(segment) - 1) for segment in segments]
    device = items.bias.device
    rows = torch.from_numpy(np.concatenate([acts.items for acts in recent])).to(device)
    vectors = recommender.item_vectors(Rows(*(column[rows] for column in items)))
    ends = torch.from_numpy(np.cumsum([len(acts) for acts in recent]) - 1).to(device)
    return recommender.user_vectors(vectors, pack(recent, device))[ends]


def score_segments(
    segments: Sequence[Segment],
    users: Tensor,
    recommender: Recommender,
    items: Rows,
    covisitation: Covisitation,
    popularity: Popularity,
) -> Iterator[ScorerOutputs]:
    """Score the segments' targets with model, covisitation, popularity and evidence, in blocks.

    Args:
        segments: have m targets in total.
        users: ``[m, d]`` user vectors before each target.
        recommender: scores users against `items`.
        items: all n rows of the catalogue; more rows after them are left out of every output.
        covisitation, popularity: counts over the same n rows.

    Yields:
        The outputs for blocks of `TARGETS_AT_ONCE` targets; the last block may be smaller.
    """

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(users.device)

    popular = tensor(popularity.log_share())
    scores = recommender.score_all(users, items)[:, : len(popular)]
    bias = from_biases(items.bias[: len(popular)].detach())
    pairs = [(segment, segment.targets) for segment in segments]
    pasts = [segment.items[:target] for segment, targets in pairs for target in targets]
    shares = tensor(covisitation.suggest(pasts).toarray())
    opens_basket = [segment.baskets[targets] != segment.baskets[targets - 1] for segment, targets in pairs]
    situation = tensor(np.concatenate(opens_basket).astype(np.int64))
    indices, values = evidence(segments, len(popular))
    for start in range(0, len(users), TARGETS_AT_ONCE):
        block = slice(start, start + TARGETS_AT_ONCE)
        # Facts are in the order of their targets, so those of a block are contiguous.
        facts = slice(*np.searchsorted(indices[1], [block.start, block.stop]))
        yield ScorerOutputs(
            model=torch.log_softmax(scores[block], dim=1),
            covisitation=from_shares(shares[block]),
            popularity=popular,
            bias=bias,
            indices=tensor(indices[:, facts] - [[0], [start], [0]]),
            values=tensor(values[facts]),
            situation=situation[block],
        )
