"""User vectors after the last acts alone, for servers: the learner needs them after every act.

In a tower of one BERT layer, earlier acts are only attended to: they need keys and values, which are a sixth
of the layer's work. Other towers compute all and leave out the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer

from pipeline.model.families import blocks_of
from pipeline.model.item_table import Rows
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import users_before_last, with_attributes
from pipeline.model.sequences import Packed
from pipeline.model.tower import Tower
from pipeline.model.tuning import WITHIN_LAYERS
from pipeline.state.segments import Segment


@torch.inference_mode()
def last_users(segments: Sequence[Segment], recommender: Recommender, items: Rows, context: int) -> Tensor:
    """Compute what `users_before_last` does, ``[m, d]``, but for rounding."""
    tower = recommender.tower
    block = _only_block(tower)
    if block is None:
        return users_before_last(segments, recommender, items, context)

    def after_acts(acted: Sequence[Segment]) -> Tensor:
        acts, vectors = acts_before_last(acted, recommender, items, context)
        return _after_last(tower, block, acts, vectors)

    return with_attributes(segments, recommender, after_acts)


def acts_before_last(
    segments: Sequence[Segment], recommender: Recommender, items: Rows, context: int
) -> tuple[list[Segment], Tensor]:
    """Return at most `context` acts before the last of each segment, and their item vectors ``[acts, d]``."""
    recent = [segment.cut(max(0, len(segment) - 1 - context), len(segment) - 1) for segment in segments]
    rows = torch.from_numpy(np.concatenate([acts.items for acts in recent]))
    return recent, recommender.item_vectors(Rows(*(column[rows] for column in items)))


class HistoryTower(nn.Module):
    """The tower of histories as rows of equal width, as a function of tensors alone: what is exported."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(
        self, vectors: Tensor, types: Tensor, values: Tensor, gaps: Tensor, lengths: Tensor
    ) -> Tensor:
        """Compute user vectors ``[m, d]`` after the last act of each history.

        Args:
            vectors: ``[m, t, d]`` item vectors, oldest first; what is after a history's end is not read.
            types, values, gaps: ``[m, t]`` as in Segment.
            lengths: ``[m]`` acts of each history, at least one.
        """
        tower, (m, t) = self.tower, types.shape
        block = _only_block(tower)
        if block is None:
            positions, mask = torch.arange(t), torch.ones(t, t, dtype=torch.bool).tril()
            ends = torch.arange(m) * t + lengths - 1
            packed = Packed(types, types, values, gaps, positions.expand(m, t), mask.expand(m, 1, t, t), ends)
            found: Tensor = tower(vectors, packed)
            return found
        hidden = tower.embed(vectors, tower.features(types, values, gaps))
        last = hidden.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
        is_outside = torch.arange(t) >= lengths[:, None]
        attention: Any = block.attention.self
        attended = _attend(attention, last, attention.key(hidden), attention.value(hidden), is_outside)
        return tower.project(_after_attention(block, attended, last))


@lru_cache(2)
def _only_block(tower: Tower) -> BertLayer | None:
    """Return the layer of a tower if it has one alone and that is BERT's; looking takes half a ms.

    None, too, if what it learns is not within the layer's maps.
    """
    first, *others = blocks_of(tower.layers)
    is_within = not others and tower.tuning in WITHIN_LAYERS
    return first if is_within and isinstance(first, BertLayer) else None


def _after_last(tower: Tower, block: BertLayer, segments: Sequence[Segment], vectors: Tensor) -> Tensor:
    """Apply a tower of one layer to the item vectors ``[acts, d]`` of segments."""
    types, values, gaps = (
        torch.from_numpy(np.concatenate([getattr(segment, name) for segment in segments]))
        for name in ("types", "values", "gaps")
    )
    hidden = tower.embed(vectors, tower.features(types, values, gaps))
    lengths = torch.tensor([len(segment) for segment in segments])
    ends, steps = lengths.cumsum(0) - 1, torch.arange(int(lengths.max()))
    # [m, t] of each run, backwards from its end; what is before its beginning is masked.
    runs, is_outside = (ends[:, None] - steps).clamp(min=0), steps >= lengths[:, None]
    attention: Any = block.attention.self
    keys, values = attention.key(hidden)[runs], attention.value(hidden)[runs]
    attended = _attend(attention, hidden[ends], keys, values, is_outside)
    return tower.project(_after_attention(block, attended, hidden[ends]))


def _attend(attention: Any, last: Tensor, keys: Tensor, values: Tensor, is_outside: Tensor) -> Tensor:
    """Attend from the last acts ``[m, d]`` to acts ``[m, t, d]`` that are not outside: ``[m, d]``."""
    heads = attention.num_attention_heads, attention.attention_head_size
    query = attention.query(last).view(-1, *heads)
    keys, values = (part.view(*part.shape[:-1], *heads) for part in (keys, values))
    scores = torch.einsum("mhd,mthd->mht", query, keys) * attention.scaling
    weights = scores.masked_fill(is_outside[:, None], -torch.inf).softmax(dim=2)
    return torch.einsum("mht,mthd->mhd", weights, values).flatten(1)


def _after_attention(block: BertLayer, attended: Tensor, last: Tensor) -> Tensor:
    """Compute what of a layer comes after its attention, for the last acts ``[m, d]`` alone."""
    parts: Any = block
    queried = parts.attention.output(attended, last)
    found: Tensor = parts.output(parts.intermediate(queried), queried)
    return found
