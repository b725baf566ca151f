"""Masked items: some acts hide their items, which are found from what is on both sides."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.model.losses import sampled_softmax
from pipeline.model.sequences import Packed, pack
from pipeline.training.objectives.port import HistoryBatch
from pipeline.training.optimizer import Touched

HIDDEN = 0.2
"""Share of the acts whose items are hidden."""


class MaskedItem:
    """BERT4Rec's cloze task (Sun et al. 2019), by sampled softmax; the tower sees both sides of a position.

    Its layers must be an encoder's. A hidden item is replaced by a vector of length 1 that none has.
    """

    def loss(self, histories: HistoryBatch) -> tuple[Tensor, Touched]:
        """Return the mean loss of the hidden items, and the table rows involved."""
        recommender, table, segments, negatives, random = histories
        packed = _both_sides(pack(segments, negatives.items.device))
        items = packed.items.flatten()[packed.indices]
        hidden = torch.from_numpy(_hidden(items.numel(), random)).to(items.device)
        touched, where = torch.unique(torch.cat([items, negatives.items]), return_inverse=True)
        rows = table.rows(touched)
        of_acts, of_negatives = torch.split(
            recommender.item_vectors(rows)[where], [items.numel(), negatives.items.numel()]
        )
        bias, negative_bias = torch.split(rows.bias[where], [items.numel(), negatives.items.numel()])
        seen = torch.where(hidden.unsqueeze(1), _blank(of_acts), of_acts)
        users = recommender.user_vectors(seen, packed, hidden.nonzero().flatten())
        positive = recommender.own_logits(users, of_acts[hidden], bias[hidden])
        negative = recommender.logits(users, of_negatives, negative_bias)
        losses = sampled_softmax(positive, negative, items[hidden], negatives)
        return losses.mean(), Touched(touched, rows)


def _hidden(acts: int, random: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Choose the acts ``[acts]`` that are hidden, at least one."""
    hidden = random.random(acts) < HIDDEN
    hidden[random.integers(acts)] = True
    return hidden


def _both_sides(packed: Packed) -> Packed:
    """Let every position attend to all of its segment."""
    return replace(packed, mask=packed.mask | packed.mask.transpose(2, 3))


def _blank(vectors: Tensor) -> Tensor:
    """Return a vector ``[d]`` of length 1 whose mean is zero, as a norm of layers leaves it."""
    width = vectors.shape[1]
    return vectors.new_tensor([1.0, -1.0]).repeat(width // 2 + 1)[:width] / math.sqrt(width)
