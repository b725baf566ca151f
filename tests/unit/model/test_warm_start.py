"""A larger model starts from a smaller one, and computes the same where that is possible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from torch import Tensor

from pipeline.config import CandidateSizes, ModelSizes, Tuning
from pipeline.model.backbone import Backbone
from pipeline.model.recommender import Recommender
from pipeline.model.sequences import pack
from pipeline.model.warm_start import warm_start
from tests.support.build import segment
from tests.support.families import FAMILIES, model_of

SMALL = ModelSizes(layers=1, lora_rank=2, lora_alpha=4, adapter_rank=4)
LARGER = ModelSizes(layers=1, lora_rank=5, lora_alpha=4, adapter_rank=7)


@pytest.fixture
def learned(backbone: Backbone) -> Iterator[Recommender]:
    """A small model whose parameters are far from their initial values."""
    yield learned_with(backbone, SMALL)


def learned_with(backbone: Backbone, sizes: ModelSizes) -> Recommender:
    recommender = Recommender(backbone, sizes, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in recommender.learned().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return recommender


def users(recommender: Recommender, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(4, width, generator=generator)
    return recommender.user_vectors(vectors, pack([segment([0, 1, 2, 3])], torch.device("cpu")))


@torch.no_grad()
def test_larger_ranks_compute_the_same(backbone: Backbone, learned: Recommender) -> None:
    grown = Recommender(backbone, LARGER, seed=3).eval()
    warm_start(grown, LARGER, learned, SMALL)
    torch.testing.assert_close(users(grown, backbone.width), users(learned, backbone.width))
    adapted = [each.adapter_out @ each.adapter_in for each in (grown, learned)]
    torch.testing.assert_close(*adapted)


@torch.no_grad()
def test_vectors_that_are_read_for_the_first_time_change_nothing(backbone: Backbone) -> None:
    sizes = SMALL.replace(vectors={"image": 3})
    more = LARGER.replace(vectors={"audio": 2, "image": 3})
    learned, grown = (Recommender(backbone, each, seed=0).eval() for each in (sizes, more))
    for parameter in learned.learned().values():
        parameter.add_(0.1)
    warm_start(grown, more, learned, sizes)
    users = torch.randn(4, backbone.width, generator=torch.Generator().manual_seed(2))
    before, after = (one.of_content(one.of_residual(users)) for one in (learned, grown))
    text = backbone.width
    torch.testing.assert_close(after[:, :text], before[:, :text])
    assert not after[:, text : text + 2].any(), "audio has not learned to help"
    torch.testing.assert_close(after[:, text + 2 :], before[:, text:])
    assert before[:, text:].any()
    with pytest.raises(ValueError, match=r"of_image\.narrow does not fit into a smaller model"):
        warm_start(Recommender(backbone, LARGER, seed=0), LARGER, learned, sizes)


@torch.no_grad()
@pytest.mark.parametrize("kind", get_args(Tuning))
def test_a_grown_candidate_computes_the_same_however_it_is_tuned(backbone: Backbone, kind: Tuning) -> None:
    small, settings = SMALL.replace(tuning=kind), LARGER.replace(tuning="lora")
    learned, sizes = learned_with(backbone, small), CandidateSizes().grown(settings, small)
    assert (sizes.tuning, sizes.adapter_rank) == (kind, LARGER.adapter_rank)
    grown = Recommender(backbone, sizes, seed=3).eval()
    warm_start(grown, sizes, learned, small)
    torch.testing.assert_close(users(grown, backbone.width), users(learned, backbone.width))


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["lora", "last_layers"])
def test_more_layers_of_any_family_keep_what_the_upper_ones_learned(family: str, kind: Tuning) -> None:
    backbone = Backbone(model_of(family), None, "digest")
    small = SMALL.replace(tuning=kind)
    sizes, learned = small.replace(layers=2), learned_with(backbone, small)
    grown = Recommender(backbone, sizes, seed=3).eval()
    warm_start(grown, sizes, learned, small)
    kept = {name: part for name, part in learned.learned().items() if ".layers." in name}
    now = grown.learned()
    assert kept
    for name, part in kept.items():
        assert torch.equal(now[name.replace(".0.", ".1.", 1)], part)


@torch.no_grad()
def test_more_layers_keep_what_the_upper_ones_learned(backbone: Backbone, learned: Recommender) -> None:
    sizes = SMALL.replace(layers=2)
    grown = Recommender(backbone, sizes, seed=3).eval()
    warm_start(grown, sizes, learned, SMALL)
    untrained, now, before = (
        Recommender(backbone, sizes, seed=3).learned(),
        grown.learned(),
        learned.learned(),
    )
    upper = {name for name in now if ".1." in name}
    lower = {name for name in now if ".0." in name}
    assert upper and len(upper) == len(lower)
    for name in upper:
        assert torch.equal(now[name], before[name.replace(".1.", ".0.")])
    for name in lower:
        assert torch.equal(now[name], untrained[name])


def test_a_smaller_model_cannot_start_from_a_larger_one(backbone: Backbone, learned: Recommender) -> None:
    sizes = SMALL.replace(adapter_rank=3)
    with pytest.raises(ValueError, match="adapter_in does not fit into a smaller model"):
        warm_start(Recommender(backbone, sizes, seed=3), sizes, learned, SMALL)
