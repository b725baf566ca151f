"""The untrained tower is the pretrained layers; it attends to the past only, however it is tuned."""

from __future__ import annotations

import math
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedModel

from pipeline.config import ModelSizes, Tuning
from pipeline.errors import InvalidSettings
from pipeline.model.backbone import Backbone
from pipeline.model.families import attend, blocks_of, family_of
from pipeline.model.sequences import pack
from pipeline.model.tower import Tower
from pipeline.state.segments import Segment
from tests.support.build import segment
from tests.support.families import FAMILIES, frozen, model_of
from tests.support.tiny_backbone import WIDTH

DEPTH = 3
CPU = torch.device("cpu")
KINDS: tuple[Tuning, ...] = get_args(Tuning)
WITHOUT_PREFIX = ("mpnet", "xlnet")
"""Families whose attention cannot be replaced."""
BY_POSITION = ("position_embeddings", "token_type", "wpe")
PAIRS = [
    (family, kind)
    for family, kind in product(FAMILIES, KINDS)
    if kind != "prefix" or family not in WITHOUT_PREFIX
]


def vectors_of(items: Tensor) -> Tensor:
    """Item vectors: one random direction per row."""
    directions = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(0)) / math.sqrt(WIDTH)
    return directions[items]


def tower_on(model: PreTrainedModel, kind: Tuning = "lora", layers: int = 2) -> Tower:
    """An untrained tower."""
    sizes = ModelSizes(tuning=kind, layers=layers, lora_rank=4, lora_alpha=8)
    return Tower(Backbone(model, None, "digest"), sizes).eval()


def users_after(tower: Tower, *segments: Segment) -> Tensor:
    packed = pack(segments, CPU)
    with torch.no_grad():
        users: Tensor = tower(vectors_of(packed.items), packed)
    return users


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def tower(request: pytest.FixtureRequest) -> Tower:
    """A tower of two layers that has learned something, for each family and kind of tuning."""
    family, kind = request.param
    made = tower_on(model_of(family, DEPTH), kind)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
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


def test_what_learns_has_gradients_and_the_rest_is_frozen(tower: Tower) -> None:
    packed = pack([segment([1, 2, 3])], CPU)
    learned = {name: part for name, part in tower.layers.named_parameters() if part.requires_grad}
    users: Tensor = tower(vectors_of(packed.items), packed)
    gradients = torch.autograd.grad(users.square().sum(), list(learned.values()))
    still = {name for name, gradient in zip(learned, gradients, strict=True) if not gradient.abs().max() > 0}
    # What is added to all keys alike cancels in the softmax.
    assert all(".k" in name and name.endswith("bias") for name in still)
    assert len(blocks_of(tower.layers)) == 2


def test_a_model_that_ignores_the_mask_is_refused() -> None:
    config = DebertaV2Config(
        hidden_size=WIDTH, vocab_size=9, num_hidden_layers=2, num_attention_heads=2, intermediate_size=WIDTH
    )
    with pytest.raises(InvalidSettings, match="DebertaV2Model ignores a causal mask"):
        tower_on(frozen(DebertaV2Model(config)))


@pytest.mark.parametrize("family", WITHOUT_PREFIX)
def test_a_way_to_tune_that_a_model_has_no_place_for_is_refused(family: str) -> None:
    others = "lora, dora, ia3, bottleneck, last_layers"
    with pytest.raises(InvalidSettings, match=f"prefix does not work with .*; choose one of: {others}$"):
        tower_on(model_of(family), "prefix")


@pytest.mark.parametrize(("family", "kind"), PAIRS)
def test_untrained_it_is_the_last_layers_of_each_family(family: str, kind: Tuning) -> None:
    model = model_of(family, DEPTH)
    acts = torch.randn(1, 3, WIDTH, generator=torch.Generator().manual_seed(0))
    mask, positions = torch.ones(1, 1, 3, 3, dtype=torch.bool).tril(), torch.arange(3).expand(1, 3)
    masked = family_of(model.config).masked(mask, positions, acts.dtype)
    with torch.no_grad():
        for name, part in model.named_parameters():
            if any(word in name for word in BY_POSITION):
                part.zero_()  # the tower adds no such embeddings, or adds them to its first layer
        passed = model(inputs_embeds=acts, output_hidden_states=True, **masked)
        last = attend(tower_on(model, kind, DEPTH - 1).layers, passed.hidden_states[1], mask, positions)
    torch.testing.assert_close(last, passed.last_hidden_state, rtol=1e-4, atol=1e-4)


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
