"""Orders that cannot be carried out are refused aloud, and the learner goes on as if they were none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.checkpoints.state import LearnerState
from pipeline.control.records import Refusal
from pipeline.eventlog.port import TopicPartition
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.journal.entry import Verb
from pipeline.journal.position import Position
from pipeline.model.captured_columns import CapturedColumns
from tests.support.damage import flip_a_bit
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import ModelHarness

HOUR_MS = 3_600_000


def refused(harness: ModelHarness, learning: LearnerHarness, key: str) -> str:
    """The reason of the one refusal, after which learning must go on as if nothing had been."""
    generation, step = learning.position.generation, learning.position.step
    learning.new(1)
    assert (learning.position.generation, learning.position.step) == (generation, step + 1)
    assert Verb.ADOPT not in [verb for _, verb in harness.verbs()]
    (refusal,) = harness.published(Refusal)
    assert refusal.order == key
    return refusal.reason


def test_an_unknown_candidate_is_refused(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        assert "there is no checkpoint" in refused(harness, learning, harness.promote("nobody"))


@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink])
@pytest.mark.parametrize("file", ["learned.safetensors", "catalogue.json", "manifest.json"])
def test_a_damaged_candidate_is_refused(
    harness: ModelHarness, file: str, damage: Callable[[Path], None]
) -> None:
    with harness.busy() as learning:
        damage(harness.candidate("damaged", learning.captured()) / file)
        assert refused(harness, learning, harness.promote("damaged"))


def with_nan(captured: LearnerState, name: str) -> LearnerState:
    """A state with one value that is not finite, in a tensor whose name begins so."""
    parts = [
        {key: tensor.clone() for key, tensor in part.items()}
        for part in (captured.learned, captured.table, captured.counts)
    ]
    next(tensor for part in parts for key, tensor in part.items() if key.startswith(name)).fill_(torch.nan)
    return replace(captured, learned=parts[0], table=CapturedColumns(parts[1]), counts=parts[2])


@pytest.mark.parametrize("name", ["parameter.", "mixer.", "exp_avg_sq.", "residual", "content", "popularity"])
def test_a_candidate_with_a_value_that_is_not_finite_is_refused(harness: ModelHarness, name: str) -> None:
    with harness.busy() as learning:
        harness.candidate("broken", with_nan(learning.captured(), name))
        assert "not finite" in refused(harness, learning, harness.promote("broken"))


def elsewhere(position: Position) -> Position:
    """The same in the log of another model."""
    offsets = {TopicPartition(f"other.{t}", p): end for (t, p), end in position.offsets.items()}
    return replace(position, offsets=offsets)


def ahead(position: Position) -> Position:
    """Where the log has not come to."""
    return replace(position, offsets=dict.fromkeys(position.offsets, 10**6))


def with_one_partition(position: Position) -> Position:
    return replace(position, offsets={s: end for s, end in position.offsets.items() if s.partition == 0})


@pytest.mark.parametrize("moved", [elsewhere, ahead, with_one_partition])
def test_a_candidate_of_another_log_is_refused(
    harness: ModelHarness, moved: Callable[[Position], Position]
) -> None:
    with harness.busy() as learning:
        captured = learning.captured()
        harness.candidate("foreign", replace(captured, position=moved(captured.position)))
        assert refused(harness, learning, harness.promote("foreign"))


def misfit(captured: LearnerState) -> LearnerState:
    """Weights of other shapes than the sizes say, as of another backbone."""
    return replace(captured, learned={name: torch.zeros(3, 7) for name in captured.learned})


def lacking(captured: LearnerState) -> LearnerState:
    return replace(captured, learned={})


@pytest.mark.parametrize("broken", [misfit, lacking])
def test_a_candidate_that_does_not_fit_is_refused(
    harness: ModelHarness, broken: Callable[[LearnerState], LearnerState]
) -> None:
    with harness.busy() as learning:
        harness.candidate("misfit", broken(learning.captured()))
        assert refused(harness, learning, harness.promote("misfit"))


def test_what_the_log_has_lost_cannot_be_learned_again(harness: ModelHarness, tmp_path: Path) -> None:
    with harness.busy() as learning:
        harness.candidate("old", learning.captured())
        learning.new()
        later = max(record.append_time for record in harness.records(harness.topics.interactions))
        later += int(harness.settings.log.retention_hours * HOUR_MS) + 1
        with SqliteLog(tmp_path / "log.db", lambda: later) as log:
            log.upkeep()
        harness.shop(5)
        key = harness.promote("old")
        assert "lost to retention" in refused(harness, learning, key)


def test_an_order_for_another_generation_is_refused(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.candidate("better", learning.captured())
        reason = refused(harness, learning, harness.promote("better", generation=2))
    assert "for generation 2" in reason and "this is generation 1" in reason


@pytest.mark.parametrize("version", ["0-0", "1-4", "1-99", "2-1", "7-0"])
def test_a_version_that_never_was_cannot_be_returned_to(harness: ModelHarness, version: str) -> None:
    with harness.busy() as learning:
        assert f"knows no version {version}" in refused(harness, learning, harness.roll_back(version))
