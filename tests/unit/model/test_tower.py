"""The untrained tower is the pretrained layer; it attends to the past only, and only LoRA learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
)

from pipeline.config import ModelSizes
from pipeline.errors import InvalidSettings
from pipeline.model.backbone import Backbone
from pipeline.model.sequences import pack
from pipeline.model.tower import Tower
from pipeline.state.segments import Segment
from tests.support.build import segment

WIDTH, HEADS, INNER, DEPTH = 32, 2, 64, 3
CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "intermediate_size": INNER}
EAGER: dict[str, Any] = {"attn_implementation": "eager"}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertModel(BertConfig(hidden_size=WIDTH, vocab_size=9, **SIZES)),
    "bert, eager": lambda: BertModel(BertConfig(hidden_size=WIDTH, vocab_size=9, **EAGER, **SIZES)),
    "mpnet": lambda: MPNetModel(MPNetConfig(hidden_size=WIDTH, vocab_size=9, **SIZES)),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(dim=WIDTH, hidden_dim=INNER, n_layers=DEPTH, n_heads=HEADS, vocab_size=9)
    ),
    "llama": lambda: LlamaModel(LlamaConfig(hidden_size=WIDTH, vocab_size=9, **SIZES)),
    "gpt2": lambda: GPT2Model(GPT2Config(n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS, vocab_size=9)),
}


def vectors_of(items: Tensor) -> Tensor:
    """Item vectors: one random direction per row."""
    directions = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(0)) / math.sqrt(WIDTH)
    return directions[items]


def evaluated(model: PreTrainedModel) -> PreTrainedModel:
    """The model as `load_backbone` returns it: frozen, without dropout."""
    torch.nn.Module.eval(model)
    model.requires_grad_(False)
    return model


def users_after(tower: Tower, *segments: Segment) -> Tensor:
    packed = pack(segments, CPU)
    with torch.no_grad():
        users: Tensor = tower(vectors_of(packed.items), packed)
    return users


@pytest.fixture(params=MODELS)
def tower(request: pytest.FixtureRequest) -> Tower:
    """A tower of two layers that has learned something, on each kind of model."""
    torch.manual_seed(0)
    model = evaluated(MODELS[request.param]())
    made = Tower(Backbone(model, None, "digest"), ModelSizes(layers=2)).eval()
    for parameter in made.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def test_a_segments_neighbours_make_no_difference(tower: Tower) -> None:
    segments = [segment([1, 2, 3, 4, 5]), segment([6, 7]), segment([8, 9]), segment([6, 7, 1])]
    together = users_after(tower, *segments)
    alone = torch.cat([users_after(tower, one) for one in segments])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_later_acts_do_not_change_earlier_users(tower: Tower) -> None:
    one = users_after(tower, segment([1, 2, 3, 4, 5]))
    other = users_after(tower, segment([1, 2, 3, 9, 8]))
    torch.testing.assert_close(one[:3], other[:3], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one[3:], other[3:], atol=1e-3)


def test_earlier_acts_change_later_users(tower: Tower) -> None:
    one, other = users_after(tower, segment([1, 2, 3])), users_after(tower, segment([9, 2, 3]))
    assert not torch.allclose(one[2], other[2], atol=1e-4)


def test_only_lora_learns_in_the_layers(tower: Tower) -> None:
    learning = {name for name, part in tower.layers.named_parameters() if part.requires_grad}
    assert learning
    assert all("lora_" in name for name in learning)
    blocks = max((part for part in tower.modules() if isinstance(part, torch.nn.ModuleList)), key=len)
    assert len(blocks) == 2


def test_a_model_that_ignores_the_mask_is_refused() -> None:
    model = evaluated(DebertaV2Model(DebertaV2Config(hidden_size=WIDTH, vocab_size=9, **SIZES)))
    with pytest.raises(InvalidSettings, match="DebertaV2Model ignores a causal mask"):
        Tower(Backbone(model, None, "digest"), ModelSizes())


def test_untrained_it_is_the_pretrained_layer(backbone: Backbone) -> None:
    one = segment([1, 2, 3])
    model: Any = backbone.model
    scale = math.sqrt(WIDTH)
    inputs = model.embeddings.LayerNorm(scale * vectors_of(torch.tensor([one.items.tolist()])))
    causal = torch.ones(1, 1, 3, 3, dtype=torch.bool).tril()
    hidden = model.encoder.layer[-1](inputs, attention_mask=causal)
    expected = hidden[0] if isinstance(hidden, tuple) else hidden
    users = users_after(Tower(backbone, ModelSizes()).eval(), one)
    torch.testing.assert_close(users, expected.view(3, WIDTH) / scale)


def test_the_backbone_does_not_change(backbone: Backbone) -> None:
    before = {name: part.clone() for name, part in backbone.model.state_dict().items()}
    Tower(backbone, ModelSizes())
    after = backbone.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(part, after[name]) for name, part in before.items())


def test_event_features_count_once_trained(backbone: Backbone) -> None:
    tower = Tower(backbone, ModelSizes()).eval()
    untrained = users_after(tower, segment([1, 2]))
    purchases = segment([1, 2]).types[0]
    with torch.no_grad():
        tower.of_type.weight[purchases, 0] = 1
    assert not torch.allclose(users_after(tower, segment([1, 2])), untrained, atol=1e-4)
