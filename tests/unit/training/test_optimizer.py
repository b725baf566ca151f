"""Optimizers step as their settings say, go on to the bit from their moments, and watch frozen weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.config import ModelSizes, OptimizerConfig, RowRates
from pipeline.errors import FrozenWeightsChanged
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import ItemTable
from pipeline.model.recommender import Recommender
from pipeline.training.optimizer import ALGORITHMS, FULL_BATCH, MOMENTS, OptimizerStep

RATE = 0.01


CONFIG = OptimizerConfig(rate=RATE, weight_decay=0.0)


class Run:
    """A recommender with its optimizer."""

    def __init__(self, backbone: Backbone, config: OptimizerConfig = CONFIG) -> None:
        self.recommender = Recommender(backbone, ModelSizes(lora_rank=2, adapter_rank=4), seed=0)
        table = ItemTable(backbone.width, torch.device("cpu"), RowRates())
        self.optimizer = OptimizerStep(self.recommender, table, config)
        self.before = self.recommender.adapter_in.detach().clone()

    def step(self, acts: int = FULL_BATCH) -> None:
        """Take a step in which the item adapter has a constant gradient, and nothing else has one."""
        assert self.optimizer.step(self.recommender.adapter_in.sum(), [], acts)

    def learn(self) -> None:
        """Take a step in which every weight has a gradient."""
        learned = self.recommender.learned().values()
        assert self.optimizer.step(torch.stack([(part + 1).square().sum() for part in learned]).sum(), [])

    @property
    def moved(self) -> Tensor:
        return self.before - self.recommender.adapter_in.detach()

    @property
    def learned(self) -> dict[str, Tensor]:
        return {name: part.detach().clone() for name, part in self.recommender.learned().items()}


def moved(backbone: Backbone, steps: list[int], config: OptimizerConfig = CONFIG) -> Tensor:
    """How far a parameter with a constant gradient is after steps of so many acts."""
    run = Run(backbone, config)
    for acts in steps:
        run.step(acts)
    return run.moved


@pytest.mark.parametrize(
    ("acts", "share"), [(FULL_BATCH, 1.0), (FULL_BATCH // 4, 0.5), (4 * FULL_BATCH, 1.0), (0, 0.0)]
)
def test_a_first_step_is_the_rate_times_the_root_of_the_share(
    backbone: Backbone, acts: int, share: float
) -> None:
    expected = torch.full_like(moved(backbone, []), share * RATE)
    torch.testing.assert_close(moved(backbone, [acts]), expected, rtol=1e-3, atol=1e-6)


def test_a_full_batch_after_a_small_one_takes_a_full_step(backbone: Backbone) -> None:
    steps = moved(backbone, [FULL_BATCH // 4, FULL_BATCH]) - moved(backbone, [FULL_BATCH // 4])
    torch.testing.assert_close(steps, torch.full_like(steps, RATE), rtol=1e-3, atol=1e-6)


def test_sgds_step_is_in_proportion_to_the_new_acts(backbone: Backbone) -> None:
    config = CONFIG.replace(kind="sgd", clip=1e6)
    quarter, whole = (moved(backbone, [acts], config) for acts in (FULL_BATCH // 4, FULL_BATCH))
    torch.testing.assert_close(quarter, torch.full_like(quarter, RATE / 4), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(whole, torch.full_like(whole, RATE), rtol=1e-3, atol=1e-6)


def test_momentum_goes_on(backbone: Backbone) -> None:
    config = CONFIG.replace(kind="sgd", clip=1e6, momentum=0.5)
    far = moved(backbone, [FULL_BATCH, FULL_BATCH], config)
    torch.testing.assert_close(far, torch.full_like(far, 2.5 * RATE), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("kind", ALGORITHMS)
def test_it_goes_on_to_the_bit_from_its_moments(backbone: Backbone, kind: Any, schedule: Any) -> None:
    config = CONFIG.replace(kind=kind, schedule=schedule, warm_up_steps=2, decay_steps=3)
    whole = Run(backbone, config)
    for _ in range(3):
        whole.learn()
    moments, learned = whole.optimizer.moments(), whole.learned
    assert {name.partition(".")[0] for name in moments} <= set(MOMENTS)
    restored = Run(backbone, config)
    restored.recommender.load_learned(learned)
    restored.optimizer.load_moments(moments)
    for run in (whole, restored):
        run.learn()
    assert equal(whole.learned, restored.learned)
    assert not equal(whole.learned, learned)
    assert equal(whole.optimizer.moments(), restored.optimizer.moments())


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(tensor, other[name]) for name, tensor in one.items()
    )


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_moments_of_another_algorithm_are_left_out_and_others_refused(backbone: Backbone, kind: Any) -> None:
    run = Run(backbone, CONFIG.replace(kind=kind))
    run.learn()
    moments = run.optimizer.moments()
    for other in ALGORITHMS.keys() - {kind}:
        fresh = Run(backbone, CONFIG.model_copy(update={"kind": other}))
        fresh.optimizer.load_moments(moments)
        assert fresh.optimizer.moments() == {}
    name = next(name for name in moments if name.endswith("adapter_in") and moments[name].dim())
    with pytest.raises(ValueError, match=f"{kind} keeps no such moments"):
        run.optimizer.load_moments({**moments, name: torch.zeros(3)})


def test_a_number_of_steps_that_is_none_is_refused(backbone: Backbone) -> None:
    for wrong in (torch.tensor(-1), torch.tensor(0.5), torch.zeros(2, dtype=torch.int64)):
        with pytest.raises(ValueError, match="the number of steps is no count"):
            Run(backbone).optimizer.load_moments({"schedule.steps": wrong})


def test_frozen_weights_that_change_end_the_learning(backbone: Backbone) -> None:
    run = Run(Backbone(copy.deepcopy(backbone.model), None, "digest"))
    run.step()
    frozen = {name: part for name, part in run.recommender.named_parameters() if not part.requires_grad}
    key = next(part for name, part in frozen.items() if "self.key" in name)
    key.data.view(torch.int32)[3, 2] ^= 1
    with pytest.raises(FrozenWeightsChanged, match=r"1 frozen weights changed, tower\.layers\..*self\.key"):
        run.step()


def test_layers_that_should_move_and_do_not_are_told(
    backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(backbone, CONFIG.replace(kind="sgd", rate=1e-60))
    run.learn()
    assert "no weight of the layers changed in a step" in caplog.text
    caplog.clear()
    for healthy in (Run(backbone), Run(backbone, CONFIG.replace(kind="sgd"))):
        healthy.step()  # the layers have no gradient
        healthy.learn()
    assert not caplog.text
