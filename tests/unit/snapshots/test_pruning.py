"""Adapters of a lower rank: what is kept of their products, and that a server scores with them."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from pipeline.checkpoints.audit import agreement
from pipeline.config import ModelSizes, Settings, Tuning
from pipeline.model.backbone import Backbone
from pipeline.model.recommender import Recommender
from pipeline.model.sequences import pack
from pipeline.snapshots.pruning import pruned
from tests.support.build import segment
from tests.support.model_harness import ModelHarness
from tests.unit.snapshots.test_compression import on, with_compression

RANK = 4
SIZES = ModelSizes(lora_rank=RANK, lora_alpha=8, adapter_rank=RANK)
Products = dict[str, Tensor]


@pytest.fixture
def learned(backbone: Backbone) -> dict[str, Tensor]:
    """Learned parameters whose products have singular values that halve from one to the next."""
    found = {
        name: parameter.detach().clone()
        for name, parameter in Recommender(backbone, SIZES, seed=0).learned().items()
    }
    for name, values in found.items():
        if ".lora_" in name or name.startswith("adapter_"):
            is_inner = ".lora_A." in name or name == "adapter_in"
            basis = torch.linalg.qr(torch.randn(max(values.shape), RANK, generator=_generator(name)))[0]
            sizes = torch.tensor([1.0, 0.5, 0.25, 0.125]).sqrt()
            found[name] = (basis * sizes).T.contiguous() if is_inner else basis * sizes
    return found


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(len(name))


def products(learned: dict[str, Tensor], sizes: ModelSizes) -> Products:
    """What the model adds to each linear map, by the name of the inner matrix."""
    scale = sizes.lora_alpha / sizes.lora_rank
    found = {
        name: scale * learned[name.replace("lora_A", "lora_B")] @ inner
        for name, inner in learned.items()
        if ".lora_A." in name
    }
    return {**found, "adapter": learned["adapter_out"] @ learned["adapter_in"]}


@pytest.mark.parametrize(("share", "rank"), [(0.5, 1), (0.75, 1), (0.76, 2), (0.95, 3), (0.98, 3), (0.99, 4)])
def test_the_smallest_rank_with_the_share_is_kept_and_no_more_is_lost(
    learned: dict[str, Tensor], share: float, rank: int
) -> None:
    before = {name: tensor.clone() for name, tensor in learned.items()}
    found, sizes = pruned(learned, SIZES, share)
    assert (sizes.lora_rank, sizes.adapter_rank, sizes.lora_alpha) == (rank, rank, SIZES.lora_alpha)
    for name, product in products(learned, SIZES).items():
        lost = (products(found, sizes)[name] - product).square().sum() / product.square().sum()
        assert lost <= 1 - share + 1e-6, name
    assert found.keys() == learned.keys()
    assert all(torch.equal(learned[name], before[name]) for name in before), "the learner keeps its own"
    others = [name for name in found if ".lora_" not in name and not name.startswith("adapter_")]
    assert others and all(found[name] is learned[name] for name in others)


def test_the_product_that_needs_most_decides_for_all(learned: dict[str, Tensor]) -> None:
    first, *_ = (name for name in learned if ".lora_B." in name)
    learned[first] = torch.linalg.qr(learned[first])[0]  # its values are nearly equal
    found, sizes = pruned(learned, SIZES, 0.9)
    assert sizes.lora_rank > pruned(learned, SIZES, 0.9)[1].adapter_rank
    assert {tensor.shape[0] for name, tensor in found.items() if ".lora_A." in name} == {sizes.lora_rank}


def test_adapters_at_birth_are_zero_at_rank_one(backbone: Backbone) -> None:
    newborn = dict(Recommender(backbone, SIZES, seed=0).learned())
    found, sizes = pruned(newborn, SIZES, 0.99)
    assert (sizes.lora_rank, sizes.adapter_rank) == (1, 1)
    assert not any(product.any() for product in products(found, sizes).values())


@pytest.mark.parametrize("tuning", ["ia3", "prefix", "bottleneck", "last_layers"])
def test_without_lora_the_adapter_alone_is_pruned(backbone: Backbone, tuning: Tuning) -> None:
    sizes = SIZES.replace(tuning=tuning)
    learned = dict(Recommender(backbone, sizes, seed=0).learned())
    found, pruned_sizes = pruned(learned, sizes, 0.5)
    assert pruned_sizes == sizes.replace(adapter_rank=1)
    assert {name for name in found if found[name] is not learned[name]} == {"adapter_in", "adapter_out"}


@pytest.mark.parametrize("tuning", ["lora", "dora"])
@pytest.mark.parametrize(("share", "most"), [(1 - 1e-6, 1e-3), (0.9, 0.5)])
def test_a_model_of_the_pruned_sizes_computes_nearly_the_same(
    learned: dict[str, Tensor], backbone: Backbone, share: float, most: float, tuning: Tuning
) -> None:
    own_sizes = SIZES.replace(tuning=tuning)
    learned = {**dict(Recommender(backbone, own_sizes, seed=0).learned()), **learned}
    found, sizes = pruned(learned, own_sizes, share)
    packed = pack([segment([0, 1, 2, 3]), segment([3, 2])], torch.device("cpu"))
    vectors = torch.randn(6, backbone.width, generator=_generator("vectors"))
    users = list[Tensor]()
    for own, parameters in ((own_sizes, learned), (sizes, found)):
        recommender = Recommender(backbone, own, seed=1).eval()
        recommender.load_learned(parameters)
        with torch.no_grad():
            of_residual = recommender.of_residual(recommender.user_vectors(vectors, packed))
            users.append(torch.cat([recommender.of_content(of_residual), of_residual]))
    one, other = users
    assert 0 < (other - one).norm() < most * one.norm()


def test_what_is_published_pruned_is_audited_and_followed(settings: Settings) -> None:
    with ModelHarness(with_compression(settings, adapter_share=0.5)) as harness:
        harness.stock()
        with harness.learning() as learning:
            publisher = harness.publisher()
            for _ in range(2):
                on(harness, learning)
                before = learning.digest()
                manifest = learning.publish(publisher)
                assert learning.digest() == before
            assert manifest.sizes.lora_rank < harness.settings.learn.sizes.lora_rank
            learning.checkpoint()
            found = agreement(
                learning.learner, learning.supervisor, learning.position, harness.checkpoints, harness.store
            )
            assert (found.checkpoint, found.snapshot) == (True, True)


@pytest.mark.parametrize("kind", get_args(Tuning))
def test_whatever_the_way_to_tune_a_model_of_the_pruned_sizes_takes_what_is_left(
    backbone: Backbone, kind: Tuning
) -> None:
    sizes = SIZES.replace(tuning=kind)
    learned = {name: part.detach() for name, part in Recommender(backbone, sizes, seed=0).learned().items()}
    left, smaller = pruned(learned, sizes, 0.5)
    assert smaller.tuning == kind and smaller.adapter_rank == 1
    expected = Recommender(backbone, smaller, seed=0).learned()
    assert {name: part.shape for name, part in left.items()} == {
        name: part.shape for name, part in expected.items()
    }
