"""One forward pass over Segments: user vectors to score with, and losses to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.item_table import ItemTable, Rows
from pipeline.model.losses import Negatives, sampled_softmax
from pipeline.model.recommender import Recommender
from pipeline.model.sequences import pack
from pipeline.state.segments import Segment


@dataclass(frozen=True)
class Pass:
    """What a forward pass gives for m targets.

    Attributes:
        users: ``[m, d]`` user vector before each target.
        items: ``[m]`` the targets' catalogue rows.
        new: ``[m]`` whether a target is new, or replay and context.
        losses: ``[m]`` of each target.
        touched: ``[n]`` distinct catalogue rows that took part.
        rows: their table rows; after `backward` the gradients are there.
    """

    users: Tensor
    items: Tensor
    new: Tensor
    losses: Tensor
    touched: Tensor
    rows: Rows


def forward(
    recommender: Recommender, table: ItemTable, segments: Sequence[Segment], negatives: Negatives
) -> Pass:
    """Run Segments (each with something to foresee) through the tower, against the negatives."""
    device = negatives.items.device
    packed = pack([segment.cut(0, len(segment) - 1) for segment in segments], device)
    acts = packed.items.flatten()[packed.places]
    places, items, new = (torch.from_numpy(array).to(device) for array in _targets(segments))
    touched, where = torch.unique(torch.cat([acts, items, negatives.items]), return_inverse=True)
    at_acts, at_items, at_negatives = where.split([acts.numel(), items.numel(), negatives.items.numel()])

    rows = table.rows(touched)
    vectors = recommender.item_vectors(rows)
    laid_out = vectors.new_zeros(packed.items.numel(), vectors.shape[1]).index_copy(
        0, packed.places, vectors[at_acts]
    )
    users = recommender.user_vectors(laid_out.view(*packed.items.shape, -1), packed)[places]
    positive = recommender.own_logits(users, vectors[at_items], rows.bias[at_items])
    negative = recommender.logits(users, vectors[at_negatives], rows.bias[at_negatives])
    return Pass(users, items, new, sampled_softmax(positive, negative, items, negatives), touched, rows)


def _targets(segments: Sequence[Segment]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Place of the act before each target among all input acts, its item, whether it is new."""
    starts = np.cumsum([0] + [len(segment) - 1 for segment in segments])[:-1]
    places = [start + segment.foreseeable - 1 for start, segment in zip(starts, segments, strict=True)]
    items = [segment.items[segment.foreseeable] for segment in segments]
    new = [segment.foreseeable >= segment.first_new for segment in segments]
    return np.concatenate(places), np.concatenate(items), np.concatenate(new)
