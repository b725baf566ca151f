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
from torch import Tensor
from transformers.models.bert.modeling_bert import BertLayer

from pipeline.model.families import blocks_of
from pipeline.model.item_table import Rows
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import users_before_last
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
    recent = [segment.cut(max(0, len(segment) - 1 - context), len(segment) - 1) for segment in segments]
    rows = torch.from_numpy(np.concatenate([acts.items for acts in recent]))
    vectors = recommender.item_vectors(Rows(*(column[rows] for column in items)))
    return _after_last(tower, block, recent, vectors)


@lru_cache(2)
def _only_block(tower: Tower) -> BertLayer | None:
    """Return the layer of a tower if it has one alone and that is BERT's; looking takes half a ms.

    None, too, if what it learns is not within the layer's maps.
    """
    first, *others = blocks_of(tower.layers)
    is_within = not others and tower.tuning in WITHIN_LAYERS
    return first if is_within and isinstance(first, BertLayer) else None


def _after_last(tower: Tower, block: Any, segments: Sequence[Segment], vectors: Tensor) -> Tensor:
    """Apply a tower of one layer to the item vectors ``[acts, d]`` of segments."""
    types, values, gaps = (
        torch.from_numpy(np.concatenate([getattr(segment, name) for segment in segments]))
        for name in ("types", "values", "gaps")
    )
    hidden = tower.embed(vectors, tower.features(types, values, gaps))
    lengths = torch.tensor([len(segment) for segment in segments])
    ends = lengths.cumsum(0) - 1
    attended = _attend(block.attention.self, hidden, ends, lengths)
    queried = block.attention.output(attended, hidden[ends])
    return tower.project(block.output(block.intermediate(queried), queried))


def _attend(attention: Any, hidden: Tensor, ends: Tensor, lengths: Tensor) -> Tensor:
    """Attend from the last of each of m runs of ``[acts, d]`` to the whole run: ``[m, d]``."""
    steps = torch.arange(int(lengths.max()))
    # [m, t] of each run, backwards from its end; what is before its beginning is masked.
    runs, is_before = ends[:, None] - steps, steps >= lengths[:, None]
    heads = attention.num_attention_heads, attention.attention_head_size

    def of_runs(mapped: Tensor) -> Tensor:
        return mapped[runs.clamp(min=0)].view(*runs.shape, *heads)

    query = attention.query(hidden[ends]).view(-1, *heads)
    keys, values = of_runs(attention.key(hidden)), of_runs(attention.value(hidden))
    scores = torch.einsum("mhd,mthd->mht", query, keys) * attention.scaling
    weights = scores.masked_fill(is_before[:, None], -torch.inf).softmax(dim=2)
    return torch.einsum("mht,mthd->mhd", weights, values).flatten(1)
