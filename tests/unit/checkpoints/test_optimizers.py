"""A learner goes on from a checkpoint to the bit with each optimizer, and with another one it begins anew."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import OptimizerConfig, Settings
from tests.support.model_harness import ModelHarness, tiny_settings

SGD = OptimizerConfig(kind="sgd", rate=0.05, schedule="cosine", warm_up_steps=2, decay_steps=4)
ADAFACTOR = OptimizerConfig(kind="adafactor", rate=0.05, schedule="linear", decay_steps=4)


def optimized(settings: Settings, optimizer: OptimizerConfig) -> Settings:
    return settings.model_copy(update={"learn": settings.learn.replace(optimizer=optimizer)})


@pytest.mark.parametrize("optimizer", [SGD, ADAFACTOR], ids=["sgd", "adafactor"])
def test_the_batches_after_a_checkpoint_give_the_same_bits_again(
    tmp_path: Path, backbone_folder: Path, optimizer: Any
) -> None:
    settings = optimized(tiny_settings(tmp_path, backbone_folder), optimizer)
    with ModelHarness(settings) as harness:
        with harness.busy(batches=2, acts=48) as killed:
            killed.checkpoint()
            killed.new()
            digest = killed.digest()
        with harness.learning() as restored:
            assert restored.learner.optimizer.moments()["schedule.steps"] == 2
            assert restored.recover()
            assert restored.digest() == digest


def test_sizes_that_a_checkpoint_does_not_have_are_named_at_the_start(
    tmp_path: Path, backbone_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = tiny_settings(tmp_path, backbone_folder)
    learn = settings.learn.replace(sizes=settings.learn.sizes.replace(tuning="prefix"))
    with ModelHarness(settings) as harness:
        with harness.busy(batches=1, acts=48) as first:
            first.checkpoint()
        with harness.learning(settings.model_copy(update={"learn": learn})) as other:
            assert other.learner.config.sizes == settings.learn.sizes
    named = "learn.sizes.tuning is 'prefix' in the settings and 'lora' in it; a model keeps its sizes"
    assert named in caplog.text


def test_with_another_optimizer_it_begins_without_moments(
    tmp_path: Path, backbone_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ModelHarness(tiny_settings(tmp_path, backbone_folder)) as harness:
        with harness.busy(batches=2, acts=48) as first:
            first.checkpoint()
        with caplog.at_level(logging.WARNING), harness.learning(optimized(harness.settings, SGD)) as other:
            assert "the optimizer was adamw and is sgd now: its moments begin new" in caplog.text
            assert other.learner.optimizer.moments().keys() == {"schedule.steps"}
            other.recover()
            assert other.new()
