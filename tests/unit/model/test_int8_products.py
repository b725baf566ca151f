"""Products in 8 bits: near those of float32, the same in any company, beside a LoRA that goes on learning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import ModelSizes
from pipeline.errors import InvalidSettings
from pipeline.model.backbone import Backbone, sharing_copy
from pipeline.model.int8_products import Int8Linear, Int8LoraLinear, use_int8_products
from pipeline.model.recommender import Recommender
from pipeline.model.sequences import pack
from pipeline.model.tuning import KINDS
from tests.support.build import segment
from tests.support.families import FAMILIES, model_of

SIZES = ModelSizes(lora_rank=2, lora_alpha=4, adapter_rank=4)
WIDTH = 32


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def recommender(backbone: Backbone, sizes: ModelSizes = SIZES) -> Recommender:
    """A recommender whose parameters have left their birth."""
    with torch.random.fork_rng():
        made = Recommender(backbone, sizes, seed=0).eval()
        with torch.no_grad():
            for parameter in made.learned().values():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return made


@torch.no_grad()
def users(model: Recommender) -> Tensor:
    packed = pack([segment([0, 1, 2, 3]), segment([3, 2])], torch.device("cpu"))
    return model.user_vectors(drawn(6, WIDTH), packed)


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_a_map_is_off_by_a_hundredth(bias: bool) -> None:
    linear, x = nn.Linear(WIDTH, 48, bias), drawn(3, 5, WIDTH)
    expected, found = linear(x), Int8Linear(linear)(x)
    assert found.shape == expected.shape
    assert 0 < (found - expected).norm() < 0.02 * expected.norm()


@torch.no_grad()
def test_what_a_vector_becomes_does_not_depend_on_those_beside_it() -> None:
    rounded, x = Int8Linear(nn.Linear(WIDTH, 48)), drawn(40, WIDTH)
    x[7] *= 1_000
    together = rounded(x)
    assert all(torch.equal(rounded(x[row : row + 1])[0], together[row]) for row in range(len(x)))


@torch.no_grad()
def test_zeros_become_the_bias() -> None:
    linear = nn.Linear(WIDTH, 48)
    assert torch.equal(Int8Linear(linear)(torch.zeros(2, WIDTH)), linear.bias.expand(2, -1))


def test_a_tower_of_rounded_maps_has_the_same_parameters_and_nearly_the_same_users(
    backbone: Backbone,
) -> None:
    exact, rounded = recommender(backbone), recommender(backbone)
    assert use_int8_products(rounded.tower.layers) == 6, "query, key, value and three more"
    assert exact.learned().keys() == rounded.learned().keys()
    one, other = users(exact), users(rounded)
    assert 0 < (other - one).norm() < 0.05 * one.norm()


def test_a_later_lora_takes_effect_and_what_is_frozen_is_shared(backbone: Backbone) -> None:
    rounded = recommender(backbone)
    use_int8_products(rounded.tower.layers)
    before, copied = users(rounded), sharing_copy(rounded)
    assert isinstance(copied, Recommender)
    state = {
        name: 2 * values if ".lora_B." in name else values.clone()
        for name, values in copied.learned().items()
    }
    copied.load_learned(state)
    assert (users(copied) - before).norm() > 0.01 * before.norm()
    assert torch.equal(users(rounded), before), "the parameters are the copy's own"
    pairs = zip(_maps(rounded), _maps(copied), strict=True)
    assert all(one.frozen.codes.data_ptr() == other.frozen.codes.data_ptr() for one, other in pairs)


def _maps(model: Recommender) -> list[Int8LoraLinear]:
    return [part for part in model.modules() if isinstance(part, Int8LoraLinear)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_way_to_tune_computes_nearly_the_same(family: str, backbone: Backbone) -> None:
    language_model = Backbone(model_of(family), backbone.tokenizer, family)
    for tuning in KINDS:
        sizes = SIZES.replace(tuning=tuning)
        try:
            exact, rounded = (recommender(language_model, sizes) for _ in range(2))
        except InvalidSettings:
            continue
        count = use_int8_products(rounded.tower.layers)
        assert exact.learned().keys() == rounded.learned().keys()
        one, other = users(exact), users(rounded)
        assert (other - one).norm() < 0.05 * one.norm(), tuning
        assert torch.equal(one, other) == (not count), tuning


def test_maps_that_learn_stay() -> None:
    learning = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH).requires_grad_(False))
    assert use_int8_products(learning) == 1
    assert type(learning[0]) is nn.Linear and type(learning[1]) is Int8Linear
