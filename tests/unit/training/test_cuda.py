"""A learner on CUDA learns what one on the CPU learns, up to rounding; each restores the other's state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.state import restore
from pipeline.config import (
    LearnerConfig,
    ModelSizes,
    ObjectiveConfig,
    OptimizerConfig,
    Precision,
    Tuning,
)
from pipeline.evaluation.prequential import Scores
from pipeline.events import InteractionType, Item
from pipeline.journal.position import Position
from pipeline.model.backbone import load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.build import MINUTE, learner_config, purchase, vectors_of
from tests.support.checkpoint_tools import to_files
from tests.support.families import FAMILIES, backbone_of
from tests.support.learner_harness import snapshot_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

CONFIG = learner_config(negatives=16, replay=4)
SIZES, VECTORS = ModelSizes(lora_rank=2, lora_alpha=4, adapter_rank=4), {"image": 5}
VARIANTS = {
    **{kind: CONFIG.replace(sizes=SIZES.replace(tuning=kind)) for kind in get_args(Tuning)},
    "sgd": CONFIG.replace(optimizer=OptimizerConfig(kind="sgd", rate=0.02)),
    "adafactor": CONFIG.replace(optimizer=OptimizerConfig(kind="adafactor", rate=0.01)),
    "vectors": CONFIG.replace(sizes=SIZES.replace(vectors=VECTORS)),
    "basket": CONFIG.replace(objective=ObjectiveConfig(basket_types=(InteractionType.PURCHASE,))),
    "masked items": CONFIG.replace(objective=ObjectiveConfig(unsupervised="masked_item", alpha=0.3)),
    "views": CONFIG.replace(objective=ObjectiveConfig(unsupervised="contrastive", alpha=0.3)),
}
COLOURS, THINGS = ("red", "blue", "green"), ("cup", "plate", "lamp", "clock holder")
ITEMS = [
    Item(
        item=f"{colour}-{thing}",
        title=f"{colour} {thing}",
        vectors=vectors_of(f"{colour}-{thing}", VECTORS),
    )
    for colour, thing in itertools.product(COLOURS, THINGS)
]
POSITION = Position(1, 1, "", 0, {}, through=0, control=0, fold_to={})
Make = Callable[..., Learner]


@pytest.fixture
def make(backbone_folder: Path, tmp_path: Path) -> Iterator[Make]:
    """Makes learners that know the items; each device has its own copy of the language model."""
    with ExitStack() as stack:

        def made(device_name: str, config: LearnerConfig = CONFIG, folder: Path = backbone_folder) -> Learner:
            device, backbone = torch.device(device_name), load_backbone(str(folder))
            encoder = stack.enter_context(closing(TextEncoder(backbone, tmp_path, 8, device)))
            learner = Learner(config, backbone, encoder, device)
            learner.score_and_learn(MicroBatch(0, 0, ITEMS, []))
            return learner

        yield made


def batch(step: int, size: int = 40, users: int = 4) -> MicroBatch:
    """Users who buy along the catalogue, each with a stride of their own."""
    acts = range(size * step, size * (step + 1))
    bought = [(at % users, ITEMS[at // users * (1 + at % users) % len(ITEMS)].item, at) for at in acts]
    return MicroBatch(0, step, [], [purchase(f"u{user}", item, MINUTE * at) for user, item, at in bought])


def learn(learner: Learner, steps: range) -> list[Scores]:
    return [learner.score_and_learn(batch(step)) for step in steps]


def difference(one: Scores, other: Scores) -> float:
    """Largest difference between the mixtures' log-probabilities of the targets."""
    left, right = (scores.by_scorer["mixture"].log_probabilities for scores in (one, other))
    return float(np.abs(left - right).max())


def check_alike(on_cuda: Learner, on_cpu: Learner, tolerance: float = 2e-3) -> None:
    """Let both learn the same batches, and compare what they predict and lose."""
    with torch.backends.mkldnn.flags(enabled=False):  # it would round to bfloat16 on a CPU with AMX
        expected = learn(on_cpu, range(1, 7))
    pairs = list(zip(learn(on_cuda, range(1, 7)), expected, strict=True))
    assert all(parameter.is_cuda for parameter in on_cuda.recommender.learned().values())
    assert not any(scores.quarantined for scores, _ in pairs)
    assert max(difference(one, other) for one, other in pairs) < tolerance
    assert [one.loss for one, _ in pairs] == pytest.approx([other.loss for _, other in pairs], rel=tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-3), ("bfloat16", 0.1)])
def test_it_learns_what_a_cpu_learns(make: Make, precision: Precision, tolerance: float) -> None:
    check_alike(make("cuda", CONFIG.replace(precision=precision)), make("cpu"), tolerance)


@pytest.mark.parametrize("name", VARIANTS)
def test_so_it_does_in_each_way(make: Make, name: str) -> None:
    check_alike(make("cuda", VARIANTS[name]), make("cpu", VARIANTS[name]))


@pytest.mark.parametrize("family", FAMILIES)
def test_so_it_does_with_each_family(make: Make, family: str, tmp_path: Path) -> None:
    folder = backbone_of(family, tmp_path / family)
    check_alike(make("cuda", folder=folder), make("cpu", folder=folder))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("from_device", "to_device"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_a_checkpoint_is_restored_on_either_device(
    make: Make, from_device: str, to_device: str, name: str
) -> None:
    one, other = make(from_device, VARIANTS[name]), make(to_device, VARIANTS[name])
    learn(one, range(1, 5))
    files = to_files(capture(one, None, POSITION), partitions=2)
    restore(other, None, VARIANTS[name].sizes, files)
    assert to_files(capture(other, None, POSITION), partitions=2) == files
    with torch.backends.mkldnn.flags(enabled=False):
        (left,), (right,) = learn(one, range(5, 6)), learn(other, range(5, 6))
    assert difference(left, right) < 1e-3
    assert left.loss == pytest.approx(right.loss, rel=1e-4)


def test_a_snapshot_is_on_the_cpu(make: Make) -> None:
    learner = make("cuda")
    learn(learner, range(1, 3))
    snapshot = snapshot_of(learner, "model", POSITION, {}, "test")
    tensors = [*snapshot.learned.values(), snapshot.mixer, snapshot.content, snapshot.residual, snapshot.bias]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


def test_texts_of_one_length_are_encoded_together(make: Make) -> None:
    on_cuda, on_cpu = make("cuda").encoder, make("cpu").encoder
    passes: list[int] = []
    hook = on_cuda.backbone.model.register_forward_hook(lambda *_: passes.append(1))
    texts = [f"{item.title} of the set" for item in ITEMS] + ["", "a"]
    np.testing.assert_allclose(on_cuda.encode(texts), on_cpu.encode(texts), atol=1e-4)
    hook.remove()
    assert len(passes) < len(texts) / 2
