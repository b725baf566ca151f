"""The retrain daemon: answers requests once, publishes decisions, and goes on where it was killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from threading import Event

import pytest

from consumers.retrain import daemon as retrain
from consumers.retrain.announcing import Announcer
from consumers.retrain.daemon import RetrainService, run
from consumers.retrain.deciding import cancelled
from consumers.retrain.planning import empty_plan
from consumers.retrain.reading import LogView
from pipeline.config import GateConfig, RetrainConfig, Settings, TrainingConfig
from pipeline.control.history import read_history
from pipeline.control.records import ControlRecord, GateDecision, Promotion
from pipeline.errors import NoCheckpoint, Occupied, OffsetsExpired, RetrainCancelled, TopicError
from pipeline.metrics import Series, value_of
from pipeline.retraining.candidates import Candidate, Candidates, RetrainPlan
from pipeline.retraining.training import RetrainProgress
from pipeline.signals import Stopped
from tests.support.model_harness import ModelHarness
from tests.support.retrain_harness import (
    ANYTHING_GOES,
    CHAMPION,
    NOTHING_GOES,
    PLAN,
    begun,
    candidates,
    decision,
    make_retrainer,
    request,
    silent,
)

ASKED = request(1, 4)


class Killed(Exception):
    """Raised in the middle of everything."""


class Looks(Event):
    """Is set after so many looks for a request."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def wait(self, timeout: float | None = None) -> bool:
        self._left -= 1
        if self._left < 0:
            self.set()
        return self.is_set()


@pytest.fixture
def harness(lived_harness: ModelHarness) -> ModelHarness:
    return lived_harness


def service(
    harness: ModelHarness,
    gate: GateConfig = ANYTHING_GOES,
    looks: int = 1,
    *,
    manual: bool = False,
    progress: Callable[[RetrainProgress], None] = silent,
    stop: Event | None = None,
) -> RetrainService:
    """The service of a daemon that looks for requests so often, and is asked to stop then."""
    stop = stop or Looks(looks)
    retrainer = make_retrainer(harness, gate, manual=manual, stop=stop, progress=progress)
    return RetrainService(LogView(harness.log, harness.topics, stop), candidates(harness), retrainer)


def decided_and_killed(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> GateDecision:
    """The decision on a candidate, of a retrainer that was killed before it published it."""

    def dies(*_: object) -> None:
        raise Killed

    candidate = begun(harness)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Announcer, "announce", dies)
        make_retrainer(harness).retrain(candidate.name)
    return candidate.decided()


def published(harness: ModelHarness) -> list[ControlRecord]:
    """The records that retrainers published, each as often as it was."""
    return [*harness.published(GateDecision), *harness.published(Promotion)]


def test_a_request_is_answered_once(harness: ModelHarness) -> None:
    harness.order(ASKED)
    service(harness, looks=3).follow()
    (answer,) = harness.published(GateDecision)
    assert (answer.request, answer.candidate, answer.outcome) == (ASKED.key, ASKED.key, "promoted")
    service(harness, looks=2).follow()
    assert harness.published(GateDecision) == [answer]


def test_a_full_disk_is_waited_for(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, refusals = Candidates.begin, [OSError(28, "No space left on device")]

    def full_once(self: Candidates, plan: RetrainPlan) -> Candidate:
        if refusals:
            raise refusals.pop()
        return begin(self, plan)

    monkeypatch.setattr(Candidates, "begin", full_once)
    harness.order(ASKED)
    service(harness, looks=3).follow()
    assert not refusals
    assert [answer.request for answer in harness.published(GateDecision)] == [ASKED.key]


def test_of_several_requests_the_newest_is_answered(harness: ModelHarness) -> None:
    harness.order(request(1, 3))
    harness.order(ASKED)
    service(harness, looks=3).follow()
    assert [answer.request for answer in harness.published(GateDecision)] == [ASKED.key]


def test_a_promotion_is_ordered_of_what_the_gate_promotes(harness: ModelHarness) -> None:
    harness.order(ASKED)
    service(harness).follow()
    (order,) = harness.published(Promotion)
    (answer,) = harness.published(GateDecision)
    assert (order.candidate, order.generation) == (ASKED.key, answer.generation)
    keys = [record.key for record in harness.records(harness.topics.control)]
    assert keys == [ASKED.key, answer.key, order.key]
    with harness.learning() as learning:
        learning.recover()
        learning.turns(1)
        assert learning.position.generation == 2


@pytest.mark.parametrize(
    ("gate", "manual", "outcome"), [(NOTHING_GOES, False, "rejected"), (ANYTHING_GOES, True, "held")]
)
def test_nothing_is_ordered_of_what_is_not_promoted(
    harness: ModelHarness, gate: GateConfig, manual: bool, outcome: str
) -> None:
    harness.order(ASKED)
    service(harness, gate, manual=manual).follow()
    assert [answer.outcome for answer in harness.published(GateDecision)] == [outcome]
    assert harness.published(Promotion) == []


def test_an_alarm_whose_request_was_answered_has_a_result(harness: ModelHarness) -> None:
    harness.order(ASKED.alarm)
    harness.order(ASKED)
    service(harness, NOTHING_GOES).follow()
    results = {entry.record.kind: entry.result for entry in read_history(harness.log, harness.topics)}
    assert results == {"drift_alarm": "false", "retrain_request": "false", "decision": ""}


def test_a_request_whose_model_was_left_behind_is_cancelled(harness: ModelHarness) -> None:
    order = harness.roll_back("1-3")
    with harness.learning() as learning:
        learning.recover()
        left = learning.position
        learning.new()
    harness.order(late := request(left.generation, left.step))
    service(harness, looks=3).follow()
    (answer,) = harness.published(GateDecision)
    assert (answer.request, answer.outcome) == (late.key, "cancelled")
    assert order in answer.reasons[0]


def test_a_killed_one_is_gone_on_with_by_the_next(harness: ModelHarness) -> None:
    def dies(_: RetrainProgress) -> None:
        raise Killed

    harness.order(ASKED)
    with pytest.raises(Killed):
        service(harness, progress=dies).follow()
    plan = candidates(harness).named(ASKED.key).plan()
    assert harness.published(GateDecision) == []
    service(harness).follow()
    (answer,) = harness.published(GateDecision)
    assert (answer.request, answer.champion) == (ASKED.key, plan.champion)
    assert candidates(harness).named(ASKED.key).plan() == plan


def test_a_stop_in_its_midst_is_no_answer(harness: ModelHarness) -> None:
    harness.order(ASKED)
    stop = Looks(1)

    def stops(_: RetrainProgress) -> None:
        stop.set()

    with pytest.raises(Stopped):
        service(harness, progress=stops, stop=stop).follow()
    assert harness.published(GateDecision) == []


# What a killed predecessor decided.


def test_what_was_decided_and_not_published_is_published_once(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = decided_and_killed(harness, monkeypatch)
    assert published(harness) == []
    for _ in range(2):
        service(harness).publish_pending()
    assert harness.published(GateDecision) == [found]
    assert [order.candidate for order in harness.published(Promotion)] == ["one"]


def test_an_order_that_was_not_published_with_its_decision_is_published(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = decided_and_killed(harness, monkeypatch)
    harness.order(found)
    service(harness).publish_pending()
    assert [order.candidate for order in harness.published(Promotion)] == ["one"]
    assert {answer.key for answer in harness.published(GateDecision)} == {found.key}, (
        "publishing it a second time is idempotent"
    )


def test_what_is_in_work_is_not_published(harness: ModelHarness) -> None:
    begun(harness)
    service(harness).publish_pending()
    assert published(harness) == []


def test_what_a_person_rejected_is_not_ordered_again(harness: ModelHarness) -> None:
    candidate = begun(harness)
    candidate.conclude(decision(outcome="rejected"))
    service(harness).publish_pending()
    assert [answer.outcome for answer in harness.published(GateDecision)] == ["rejected"]
    assert harness.published(Promotion) == []


# The command.


@pytest.fixture
def small(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a retrainer that leaves this process as it is."""
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(retrain, "stop_requested", lambda: Looks(1))
    return harness.settings.model_copy(
        update={
            "retrain": RetrainConfig(plan=PLAN, training=TrainingConfig(epochs=1)),
        }
    )


def test_by_hand_one_candidate_is_made(harness: ModelHarness, small: Settings) -> None:
    run(small, follow=False, since=None)
    (answer,) = harness.published(GateDecision)
    assert (answer.champion, answer.request, answer.outcome) == (CHAMPION, None, "rejected")
    assert "targets.all" in answer.reasons[0], "the Gate of the settings asks for 2,000"


def test_pending_decisions_are_published_before_requests_are_answered(
    harness: ModelHarness, small: Settings
) -> None:
    earlier = cancelled(empty_plan(request(1, 2)), "as the last one found")
    candidates(harness).begin(empty_plan(request(1, 2))).conclude(earlier)
    harness.order(ASKED)
    run(small, follow=True, since=None)
    assert [answer.request for answer in harness.published(GateDecision)] == [request(1, 2).key, ASKED.key]


def test_a_stop_ends_it_quietly(
    harness: ModelHarness, small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Event()
    stop.set()
    monkeypatch.setattr(retrain, "stop_requested", lambda: stop)
    run(small, follow=True, since=None)
    with pytest.raises(RetrainCancelled, match="it was stopped: `millstream retrain` goes on"):
        run(small, follow=False, since=None)
    assert harness.published(GateDecision) == []
    assert candidates(harness).all() == []


def test_a_candidate_by_hand_that_is_cancelled_is_an_error(
    harness: ModelHarness, small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(*_: object) -> None:
        raise OffsetsExpired(harness.topics.interactions, 2, 3, 50, 60)

    monkeypatch.setattr(LogView, "interactions", expired)
    with pytest.raises(RetrainCancelled, match=r"^by-hand-.* was not judged: .*lost to retention"):
        run(small, follow=False, since=None)
    (answer,) = harness.published(GateDecision)
    assert answer.outcome == "cancelled"


def test_without_a_checkpoint_it_says_when_there_will_be_one(harness: ModelHarness, small: Settings) -> None:
    shutil.move(harness.checkpoints.folder, harness.checkpoints.folder.with_name("away"))
    with pytest.raises(NoCheckpoint, match=r"within 60 s or 100,000 events of .* wait for it with --wait"):
        run(small, follow=False, since=None)
    assert candidates(harness).all() == []


def test_it_waits_for_a_checkpoint_if_asked(
    harness: ModelHarness, small: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, away = harness.checkpoints.folder, harness.checkpoints.folder.with_name("away")
    shutil.move(folder, away)

    class LearnerComes(Event):
        """Brings the checkpoints at the second look for them."""

        looks = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.looks += 1
            if self.looks == 2:
                shutil.copytree(away, folder, dirs_exist_ok=True)
            return False

    monkeypatch.setattr(retrain, "stop_requested", LearnerComes)
    progress = list[RetrainProgress]()
    run(small, follow=False, since=None, wait=True, show=progress.append)
    assert len(harness.published(GateDecision)) == 1
    assert progress and progress[-1].segments == progress[-1].total
    assert sum("waiting: there is no checkpoint" in message for message in caplog.messages) == 1


def test_there_is_one_at_a_time(harness: ModelHarness, small: Settings) -> None:
    with candidates(harness).occupied(), pytest.raises(Occupied):
        run(small, follow=True, since=None)


def test_without_topics_nothing_is_answered(harness: ModelHarness, small: Settings) -> None:
    elsewhere = small.log.model_copy(update={"prefix": "elsewhere"})
    with pytest.raises(TopicError, match="missing"):
        run(small.model_copy(update={"log": elsewhere}), follow=True, since=None)


def test_what_it_did_is_measured(
    harness: ModelHarness, small: Settings, exposed: Callable[[], Series]
) -> None:
    before = exposed()
    run(small, follow=False, since=None)
    (answer,) = harness.published(GateDecision)

    def grown(name: str, **labels: str) -> float:
        return value_of(exposed(), name, **labels) - value_of(before, name, **labels)

    assert grown("millstream_candidates_total", outcome="rejected") == 1
    assert grown("millstream_retrain_events_total") == answer.cost["events"]
    assert grown("millstream_retrain_seconds_total") == pytest.approx(answer.cost["seconds"])
    assert value_of(exposed(), "millstream_retrain_epochs") == 0
