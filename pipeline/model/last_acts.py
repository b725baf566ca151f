"""User vectors after the last acts alone, for servers: the learner needs them after every act.

In a tower of one BERT layer, earlier acts are only attended to, and need not even keys and values: the
product of a query with a key is that of the query, mapped back, with the act itself, and a weighted sum of
values is a map of a weighted sum of acts. Each history is mapped once, and not each of its acts. Other towers
compute all and leave out the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer

from pipeline.model.item_table import Rows
from pipeline.model.lora import folded, matrix_of
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import users_before_last, with_attributes
from pipeline.model.sequences import Packed
from pipeline.model.tower import Tower, after_attention
from pipeline.state.segments import Segment


class AttentionMaps(NamedTuple):
    """The maps of an attention with h heads of width w.

    Attributes:
        keys: ``[h, w, d]`` from queries to what acts are multiplied with. The keys' offset is left out: it
            adds the same to all products of a query.
        values: ``[h, d, w]`` from weighted sums of acts to those of values.
        offset: ``[h * w]`` of the values; their weights sum to 1.
    """

    keys: Tensor
    values: Tensor
    offset: Tensor


@torch.inference_mode()
def attention_maps(tower: Tower) -> AttentionMaps | None:
    """Return the maps of the attention of a tower's only layer as they are now; None for other towers."""
    block = tower.only_layer
    if block is None:
        return None
    attention: Any = block.attention.self
    heads, width = (attention.num_attention_heads, attention.attention_head_size), len(tower.projection)
    keys, _ = matrix_of(attention.key, width)
    values, offset = matrix_of(attention.value, width)
    return AttentionMaps(
        keys.view(width, *heads).permute(1, 2, 0).contiguous(),
        values.view(width, *heads).transpose(0, 1).contiguous(),
        offset,
    )


class ServedTower(NamedTuple):
    """A tower of one layer: its block, with LoRA folded into the maps, and the maps of its attention."""

    block: BertLayer
    maps: AttentionMaps


@torch.inference_mode()
def served_tower(tower: Tower) -> ServedTower | None:
    """Return a tower of one layer as it is now; None for other towers."""
    block, maps = tower.only_layer, attention_maps(tower)
    return None if block is None or maps is None else ServedTower(folded(block), maps)


@torch.inference_mode()
def last_users(
    segments: Sequence[Segment],
    recommender: Recommender,
    items: Rows,
    context: int,
    served: ServedTower | None,
) -> Tensor:
    """Compute what `users_before_last` does, ``[m, d]``, but for rounding.

    `served` is the `served_tower` of the recommender's tower, which one computes for many requests.
    """
    if served is None:
        return users_before_last(segments, recommender, items, context)

    def after_acts(acted: Sequence[Segment]) -> Tensor:
        acts, vectors = acts_before_last(acted, recommender, items, context)
        return _after_last(recommender.tower, served, acts, vectors)

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
        self,
        vectors: Tensor,
        types: Tensor,
        values: Tensor,
        gaps: Tensor,
        lengths: Tensor,
        maps: AttentionMaps | None,
    ) -> Tensor:
        """Compute user vectors ``[m, d]`` after the last act of each history.

        Args:
            vectors: ``[m, t, d]`` item vectors, oldest first; what is after a history's end is not read.
            types, values, gaps: ``[m, t]`` as in Segment.
            lengths: ``[m]`` acts of each history, at least one.
            maps: the `attention_maps` of the tower.
        """
        tower, (m, t) = self.tower, types.shape
        block = tower.only_layer
        if block is None or maps is None:
            positions, mask = torch.arange(t), torch.ones(t, t, dtype=torch.bool).tril()
            ends = torch.arange(m) * t + lengths - 1
            packed = Packed(types, types, values, gaps, positions.expand(m, t), mask.expand(m, 1, t, t), ends)
            found: Tensor = tower(vectors, packed)
            return found
        hidden = tower.embed(vectors, tower.features(types, values, gaps))
        last = hidden.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
        is_outside = torch.arange(t) >= lengths[:, None]
        attended = _attend(block.attention.self, last, hidden, maps, is_outside)
        return tower.project(after_attention(block, attended, last))


def _after_last(tower: Tower, served: ServedTower, segments: Sequence[Segment], vectors: Tensor) -> Tensor:
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
    last, attention = hidden[ends], cast("Any", served.block.attention.self)
    attended = _attend(attention, last, hidden[runs], served.maps, is_outside)
    return tower.project(after_attention(served.block, attended, last))


def _attend(attention: Any, last: Tensor, acts: Tensor, maps: AttentionMaps, is_outside: Tensor) -> Tensor:
    """Attend from the last acts ``[m, d]`` to acts ``[m, t, d]`` that are not outside: ``[m, d]``."""
    heads = attention.num_attention_heads, attention.attention_head_size
    asked = torch.einsum("mhw,hwd->mhd", attention.query(last).view(-1, *heads), maps.keys)
    scores = torch.einsum("mhd,mtd->mht", asked, acts) * attention.scaling
    weights = scores.masked_fill(is_outside[:, None], -torch.inf).softmax(dim=2)
    summed = torch.einsum("mht,mtd->mhd", weights, acts)
    return torch.einsum("mhd,hdw->mhw", summed, maps.values).flatten(1) + maps.offset
