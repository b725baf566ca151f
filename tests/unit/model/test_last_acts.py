"""User vectors after the last acts are those that the learner computes after every act."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2Model

from pipeline.config import ModelSizes, Tuning
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import Rows
from pipeline.model.last_acts import last_users, served_tower
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import users_before_last
from pipeline.state.segments import GAP_BUCKETS, TYPES, VALUE_BUCKETS, Segment

ITEMS = 9


def decoder(backbone: Backbone) -> Backbone:
    config = GPT2Config(vocab_size=len(backbone.tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    return Backbone(GPT2Model(config).requires_grad_(False).train(False), backbone.tokenizer, "decoder")


def segment(random: np.random.Generator, length: int) -> Segment:
    def drawn(most: int) -> np.ndarray:
        return random.integers(most, size=length)

    return Segment(
        drawn(ITEMS),
        drawn(len(TYPES)),
        drawn(VALUE_BUCKETS),
        drawn(GAP_BUCKETS),
        np.zeros(length, dtype=np.int64),
        np.ones(length),
        np.ones(length, dtype=np.bool_),
        length - 1,
    )


@pytest.mark.parametrize(("kind", "layers"), [("encoder", 1), ("encoder", 2), ("decoder", 1)])
@pytest.mark.parametrize("tuning", get_args(Tuning))
def test_vectors_after_last_acts_are_the_learners(
    backbone: Backbone, kind: str, layers: int, tuning: Tuning
) -> None:
    with torch.random.fork_rng():
        sizes = ModelSizes(tuning=tuning, layers=layers, lora_rank=2, lora_alpha=4, adapter_rank=4)
        model = Recommender(backbone if kind == "encoder" else decoder(backbone), sizes, seed=0).eval()
        with torch.no_grad():
            for parameter in model.learned().values():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        items = Rows(torch.randn(ITEMS, 32), torch.randn(ITEMS, 32), torch.zeros(ITEMS))
    random = np.random.default_rng(0)
    segments = [segment(random, length) for length in (2, 9, 3, 30)]
    for context in (1, 4, 40):
        expected = users_before_last(segments, model, items, context)
        found = last_users(segments, model, items, context, served_tower(model.tower))
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert (found[0] - found[1]).abs().max() > 0.01
