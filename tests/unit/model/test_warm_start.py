"""A larger model starts from a smaller one, and computes the same where that is possible."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pipeline.config import ModelSizes
from pipeline.model.backbone import Backbone
from pipeline.model.recommender import Recommender
from pipeline.model.sequences import pack
from pipeline.model.warm_start import warm_start
from tests.support.build import segment

SMALL = ModelSizes(layers=1, lora_rank=2, lora_alpha=4, adapter_rank=4)
LARGER = ModelSizes(layers=1, lora_rank=5, lora_alpha=4, adapter_rank=7)


@pytest.fixture
def learned(backbone: Backbone) -> Iterator[Recommender]:
    """A small model whose parameters are far from their initial values."""
    recommender = Recommender(backbone, SMALL, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in recommender.learned().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    yield recommender


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
