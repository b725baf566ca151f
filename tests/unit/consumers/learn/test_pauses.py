"""A pause: nothing new is learned, other orders are carried out, and who starts again stays paused."""

from __future__ import annotations

import pytest

from consumers.learn import orders
from consumers.learn.loop import run
from pipeline import metrics
from pipeline.control.pauses import read_pause
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


def test_an_order_that_was_refused_is_not_refused_again_by_who_starts_paused(
    harness: ModelHarness, caplog: pytest.LogCaptureFixture
) -> None:
    with harness.busy() as learning:
        harness.order(PAUSE)
        key = harness.promote("nobody")
        assert learning.new() == []
    for _ in range(2):
        with harness.learning() as again:
            again.recover()
            assert again.new() == []
    assert [refusal.order for refusal in harness.published(Refusal)] == [key]
    assert caplog.text.count("is refused") == 1
    with harness.learning() as again:
        again.recover()
        later = harness.promote("somebody")
        assert again.new() == []
    assert [refusal.order for refusal in harness.published(Refusal)] == [key, later]


def test_a_pause_that_ended_long_ago_lets_no_batch_slip_through(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "READ_RECORDS", 1)
    with harness.busy():
        for order in (PAUSE, RESUME, PAUSE.model_copy(update={"ordered_at": 7})):
            harness.order(order)
    with harness.learning() as again:
        again.recover()
        assert [again.new() for _ in range(4)] == [[]] * 4


def test_the_reason_of_the_first_pause_stands(harness: ModelHarness) -> None:
    harness.order(PAUSE)
    harness.order(Pause(ordered_at=9, reason="once more"))
    assert read_pause(harness.log, harness.topics) == PAUSE


def test_a_paused_learner_opens_a_generation_without_learning(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.roll_back("1-2")
        learning.turns(1)  # what is to be folded waits
        harness.order(PAUSE)
    changed = harness.settings.model_copy(update={"learn": harness.settings.learn.replace(mixer_rate=0.01)})
    with harness.learning(changed) as again:
        again.recover()
        (opened,) = again.new()
        assert (opened.position.generation, opened.micro.interactions) == (3, [])
        assert opened.position.fold_to == learning.position.fold_to
        harness.order(RESUME)
        again.new()
    assert again.learner.stream.events == 60


def test_what_waits_is_measured_in_a_pause(harness: ModelHarness) -> None:
    with harness.busy() as learning:
        harness.order(PAUSE)
        commits = harness.commits(learning, start=learning.position)
        metrics.LAG.labels("learn").set(0)
        run([None], learning.learner, learning.supervisor, commits, harness.checkpoints)
        waiting = 60 - learning.learner.stream.events
    assert metrics.LAG.labels("learn")._value.get() == waiting > 0


def test_a_damaged_record_ends_no_pause(harness: ModelHarness) -> None:
    with harness.busy():
        harness.order(PAUSE)
        harness.control(RESUME.encode()[:-3])
    with harness.learning() as again:
        again.recover()
        assert again.new() == []
