"""A pause: nothing new is learned, other orders are carried out, and who starts again stays paused."""

from __future__ import annotations

import pytest

from pipeline import metrics
from pipeline.control.records import Pause, Refusal, Resume
from tests.support.model_harness import ModelHarness

PAUSE, RESUME = (kind(ordered_at=time, reason="by hand") for kind, time in ((Pause, 5), (Resume, 6)))


def is_paused() -> bool:
    return bool(metrics.LEARNING_PAUSED._value.get())


def test_a_paused_learner_learns_nothing_until_it_is_resumed(
    harness: ModelHarness, caplog: pytest.LogCaptureFixture
) -> None:
    with harness.busy() as learning:
        version = learning.position.version
        harness.order(PAUSE)
        assert learning.new() == []
        assert learning.position.version == version
        assert is_paused()
        harness.order(RESUME)
        learned = learning.new()
    assert sum(len(batch.micro.interactions) for batch in learned) > 0
    assert learning.learner.stream.events == 60
    assert not is_paused()
    said = [record.getMessage() for record in caplog.records if "learning" in record.getMessage()]
    assert said == ["learning is paused until `millstream resume`: by hand", "learning goes on"]


def test_a_learner_that_starts_again_is_still_paused_and_learns_what_the_journal_names(
    harness: ModelHarness,
) -> None:
    with harness.busy() as learning:
        harness.order(PAUSE)
        harness.roll_back("1-2")  # moves the place in the control topic past the pause
        learning.turns(1)
        position, digest = learning.position, learning.digest()
    assert position.generation == 2
    with harness.learning() as again:
        again.recover()
        assert again.new() == []
        assert (again.position, again.digest()) == (position, digest)
        harness.order(RESUME)
        assert again.new() != []


def test_a_paused_learner_carries_out_other_orders_and_refuses_what_it_cannot(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.order(PAUSE)
        harness.roll_back("9-9")
        harness.roll_back("1-1")
        learning.turns(1)
        assert learning.position.version == "2-1"
        assert learning.new() == []
    assert len(harness.published(Refusal)) == 1


def test_a_damaged_record_ends_no_pause(harness: ModelHarness) -> None:
    with harness.busy():
        harness.order(PAUSE)
        harness.control(RESUME.encode()[:-3])
    with harness.learning() as again:
        again.recover()
        assert again.new() == []
