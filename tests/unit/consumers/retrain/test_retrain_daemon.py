"""The retrain daemon: answers requests once, tells what came of them, and goes on where it was killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from consumers.retrain import daemon as retrain
from consumers.retrain.daemon import Office, run
from consumers.retrain.planning import no_plan
from consumers.retrain.retrainer import judged, void
from pipeline.config import GateSettings, RetrainSettings, Settings
from pipeline.control.history import read_history
from pipeline.control.records import ControlRecord, GateDecision, Promotion
from pipeline.errors import Occupied, TopicError
from pipeline.metrics import Series, value_of
from pipeline.retraining.gate import GateConfig
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
    request,
    workshop,
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


def office(harness: ModelHarness, gate: GateConfig = ANYTHING_GOES, looks: int = 1) -> Office:
    """Of a daemon that looks for requests so often, and is told to stop then."""
    return Office(replace(workshop(harness, gate), stop=Looks(looks)), PLAN, candidates(harness))


def told(harness: ModelHarness) -> list[ControlRecord]:
    """What a retrainer told, again if it was told again."""
    judgements, promotions = harness.published(GateDecision), harness.published(Promotion)
    return [*judgements, *promotions]


def test_a_request_is_answered_once(harness: ModelHarness) -> None:
    harness.order(ASKED)
    office(harness, looks=3).follow()
    (answer,) = harness.published(GateDecision)
    assert (answer.request, answer.candidate, answer.outcome) == (ASKED.key, ASKED.key, "promoted")
    office(harness, looks=2).follow()
    assert harness.published(GateDecision) == [answer]


def test_of_several_requests_the_newest_is_answered(harness: ModelHarness) -> None:
    harness.order(request(1, 3))
    harness.order(ASKED)
    office(harness, looks=3).follow()
    assert [answer.request for answer in harness.published(GateDecision)] == [ASKED.key]


def test_a_promotion_is_ordered_of_what_the_gate_promotes(harness: ModelHarness) -> None:
    harness.order(ASKED)
    office(harness).follow()
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
    shop = replace(workshop(harness, gate), manual=manual, stop=Looks(1))
    Office(shop, PLAN, candidates(harness)).follow()
    assert [answer.outcome for answer in harness.published(GateDecision)] == [outcome]
    assert harness.published(Promotion) == []


def test_an_alarm_whose_request_was_answered_is_booked(harness: ModelHarness) -> None:
    harness.order(ASKED.alarm)
    harness.order(ASKED)
    office(harness, NOTHING_GOES).follow()
    booked = {entry.told.kind: entry.booked for entry in read_history(harness.log, harness.topics)}
    assert booked == {"drift_alarm": "false", "retrain_request": "false", "decision": ""}


def test_a_request_whose_model_was_left_behind_is_void(harness: ModelHarness) -> None:
    order = harness.roll_back("1-3")
    with harness.learning() as learning:
        learning.recover()
        left = learning.position
        learning.new()
    harness.order(late := request(left.generation, left.step))
    office(harness, looks=3).follow()
    (answer,) = harness.published(GateDecision)
    assert (answer.request, answer.outcome) == (late.key, "void")
    assert order in answer.reasons[0]


def test_a_killed_one_is_gone_on_with_by_the_next(harness: ModelHarness) -> None:
    def dies(_: RetrainProgress) -> None:
        raise Killed

    harness.order(ASKED)
    shop = replace(workshop(harness), stop=Looks(1), progress=dies)
    with pytest.raises(Killed):
        Office(shop, PLAN, candidates(harness)).follow()
    plan = candidates(harness).named(ASKED.key).plan()
    assert harness.published(GateDecision) == []
    office(harness).follow()
    (answer,) = harness.published(GateDecision)
    assert (answer.request, answer.champion) == (ASKED.key, plan.champion)
    assert candidates(harness).named(ASKED.key).plan() == plan


def test_a_stop_in_its_midst_is_no_answer(harness: ModelHarness) -> None:
    harness.order(ASKED)
    shop = replace(workshop(harness), stop=Looks(1))

    def stops(_: RetrainProgress) -> None:
        shop.stop.set()

    with pytest.raises(Stopped):
        Office(replace(shop, progress=stops), PLAN, candidates(harness)).follow()
    assert harness.published(GateDecision) == []


# What a killed predecessor judged.


def test_what_was_judged_and_not_told_is_told_once(harness: ModelHarness) -> None:
    candidate = begun(harness)
    found = judged(workshop(harness), candidate)
    assert told(harness) == []
    for _ in range(2):
        office(harness).tell_untold()
    assert harness.published(GateDecision) == [found]
    assert [order.candidate for order in harness.published(Promotion)] == ["one"]


def test_an_order_that_was_not_told_with_its_judgement_is_told(harness: ModelHarness) -> None:
    found = judged(workshop(harness), begun(harness))
    harness.order(found)
    office(harness).tell_untold()
    assert [order.candidate for order in harness.published(Promotion)] == ["one"]
    assert {answer.key for answer in harness.published(GateDecision)} == {found.key}, (
        "a second telling is the same"
    )


def test_what_is_in_work_is_not_told(harness: ModelHarness) -> None:
    begun(harness)
    office(harness).tell_untold()
    assert told(harness) == []


def test_what_a_person_rejected_is_not_ordered_again(harness: ModelHarness) -> None:
    candidate = begun(harness)
    candidate.judge(decision(outcome="rejected"))
    office(harness).tell_untold()
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
            "retrain": RetrainSettings(
                window_events=PLAN.window,
                wait_events=PLAN.wait,
                held_out_events=PLAN.held_out,
                epochs=1,
                metrics_port=0,
            ),
            "gate": GateSettings(trial_events=PLAN.trial),
        }
    )


def test_by_hand_one_candidate_is_made(harness: ModelHarness, small: Settings) -> None:
    run(small, follow=False, since=None)
    (answer,) = harness.published(GateDecision)
    assert (answer.champion, answer.request, answer.outcome) == (CHAMPION, None, "rejected")
    assert "targets.all" in answer.reasons[0], "the Gate of the settings asks for 2,000"


def test_what_is_untold_is_told_before_requests_are_answered(harness: ModelHarness, small: Settings) -> None:
    earlier = void(no_plan(request(1, 2)), "as the last one found")
    candidates(harness).begin(no_plan(request(1, 2))).judge(earlier)
    harness.order(ASKED)
    run(small, follow=True, since=None)
    assert [answer.request for answer in harness.published(GateDecision)] == [request(1, 2).key, ASKED.key]


def test_a_stop_ends_it_quietly(
    harness: ModelHarness, small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Event()
    stop.set()
    monkeypatch.setattr(retrain, "stop_requested", lambda: stop)
    run(small, follow=False, since=None)
    assert harness.published(GateDecision) == []
    (candidate,) = candidates(harness).all()
    assert candidate.decision() is None


def test_there_is_one_at_a_time(harness: ModelHarness, small: Settings) -> None:
    with candidates(harness).occupied(), pytest.raises(Occupied):
        run(small, follow=True, since=None)


def test_without_topics_nothing_is_answered(small: Settings, tmp_path: Path) -> None:
    elsewhere = small.log.model_copy(update={"url": f"sqlite:///{tmp_path}/other.db"})
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
