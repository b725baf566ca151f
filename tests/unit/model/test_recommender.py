"""The untrained recommender scores by text; the folded query equals explicit item vectors."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.config import ModelSizes, RowRates
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import ItemTable
from pipeline.model.recommender import INITIAL_SCALE, Recommender
from pipeline.model.sequences import pack
from tests.support.build import segment

ITEMS, USERS, RANK = 9, 4, 3


@pytest.fixture(params=[{}, {"image": 5, "sound": 2}], ids=["texts", "and vectors"])
def sizes(request: pytest.FixtureRequest) -> ModelSizes:
    return ModelSizes(adapter_rank=RANK, vectors=request.param)


@pytest.fixture
def recommender(backbone: Backbone, sizes: ModelSizes) -> Recommender:
    return Recommender(backbone, sizes, seed=1).eval()


@pytest.fixture
def table(backbone: Backbone, sizes: ModelSizes) -> ItemTable:
    made = ItemTable(backbone.width, torch.device("cpu"), RowRates(), sizes.columns(backbone.width))
    made.grow(ITEMS)
    random, width = torch.Generator().manual_seed(0), sizes.columns(backbone.width)
    made.set_content(torch.arange(ITEMS), torch.randn(ITEMS, width, generator=random))
    return made


@pytest.fixture
def users(backbone: Backbone) -> torch.Tensor:
    return torch.randn(USERS, backbone.width, generator=torch.Generator().manual_seed(2))


def learn_something(recommender: Recommender, table: ItemTable) -> None:
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in recommender.learned().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    rows = torch.arange(0, ITEMS, 2)
    content = table.all().text[rows].float()
    table.apply(rows, content, content[:, 0])


def test_scores_do_not_depend_on_how_many_rows_are_widened_at_once(
    recommender: Recommender, table: ItemTable, users: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_something(recommender, table)
    together = recommender.score_all(users, table.all())
    monkeypatch.setattr("pipeline.model.recommender.AT_ONCE", ITEMS // 2)
    torch.testing.assert_close(recommender.score_all(users, table.all()), together)


def test_untrained_an_item_is_scored_by_its_text(
    recommender: Recommender, table: ItemTable, users: torch.Tensor
) -> None:
    expected = (INITIAL_SCALE * users @ table.all().text.float().T).log_softmax(dim=1)
    torch.testing.assert_close(recommender.rank_all(users, table.all()), expected)


def test_the_folded_query_equals_explicit_item_vectors(
    recommender: Recommender, table: ItemTable, users: torch.Tensor
) -> None:
    learn_something(recommender, table)
    rows = table.all()
    with torch.no_grad():
        vectors = recommender.item_vectors(rows)
        logits = recommender.logits(users, vectors, rows.bias)
        own = recommender.own_logits(users, vectors[:USERS], rows.bias[:USERS])
    ranked = recommender.rank_all(users, rows)
    torch.testing.assert_close(ranked, logits.log_softmax(dim=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(own, logits.diagonal(), rtol=1e-4, atol=1e-4)
    assert ranked.exp().sum(dim=1).tolist() == pytest.approx([1] * USERS, rel=1e-4)


def test_the_scale_cannot_become_negative(recommender: Recommender, users: torch.Tensor) -> None:
    with torch.no_grad():
        recommender.log_scale.sub_(10)
        logits = recommender.logits(users, users, torch.zeros(USERS))
    assert (logits.diagonal() > 0).all()
    assert recommender.log_scale.item() == pytest.approx(math.log(INITIAL_SCALE) - 10)


def test_the_same_seed_gives_the_same_parameters(backbone: Backbone) -> None:
    one, same, other = (Recommender(backbone, ModelSizes(), seed).learned() for seed in (1, 1, 2))
    assert all(torch.equal(parameter, same[name]) for name, parameter in one.items())
    assert not torch.equal(one["adapter_in"], other["adapter_in"])


def test_declared_vectors_leave_the_other_initial_parameters_as_they_are(backbone: Backbone) -> None:
    without, with_one = (
        Recommender(backbone, ModelSizes(vectors=vectors), seed=1).learned() for vectors in ({}, {"image": 5})
    )
    assert all(torch.equal(parameter, with_one[name]) for name, parameter in without.items())
    assert {name for name in with_one if name not in without} == {
        f"fusion.maps.of_image.{name}" for name in ("narrow", "wide", "opening")
    }


def test_a_cpu_computes_in_float32_whatever_the_precision(
    recommender: Recommender, backbone: Backbone, sizes: ModelSizes
) -> None:
    packed = pack([segment([1, 2, 3])], torch.device("cpu"))
    other = Recommender(backbone, sizes, seed=1, precision="bfloat16").eval()
    vectors = torch.randn(3, backbone.width, generator=torch.Generator().manual_seed(4))
    assert torch.equal(other.user_vectors(vectors, packed), recommender.user_vectors(vectors, packed))


def test_learned_parameters_can_be_loaded(
    backbone: Backbone, recommender: Recommender, table: ItemTable, sizes: ModelSizes
) -> None:
    learn_something(recommender, table)
    state = {name: parameter.detach().clone() for name, parameter in recommender.learned().items()}
    second = Recommender(backbone, sizes, seed=5)
    second.load_learned(state)
    assert all(torch.equal(parameter, state[name]) for name, parameter in second.learned().items())
    assert sum(p.numel() for p in state.values()) < sum(p.numel() for p in recommender.parameters())
