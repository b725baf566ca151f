"""The retrain daemon: answers requests once, tells what came of them, and goes on where it was killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from consumers import retrain
from consumers.retrain import Office, run
from pipeline.config import GateSettings, RetrainSettings, Settings
from pipeline.errors import Occupied, TopicError
from pipeline.learning.control import ControlRecord, Judgement, Promotion
from pipeline.learning.gate import GateShape
from pipeline.learning.history import read_history
from pipeline.learning.planning import no_plan
from pipeline.learning.retrainer import judged, void
from pipeline.learning.retraining import RetrainProgress
from pipeline.metrics import Series, value_of
from pipeline.stopping import Stopped
from tests.mill import Mill
from tests.workshop import (
    AMOUNTS,
    ANYTHING_GOES,
    CHAMPION,
    NOTHING_GOES,
    begun,
    candidates,
    judgement,
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
def mill(lived_mill: Mill) -> Mill:
    return lived_mill


def office(mill: Mill, gate: GateShape = ANYTHING_GOES, looks: int = 1) -> Office:
    """Of a daemon that looks for requests so often, and is told to stop then."""
    return Office(replace(workshop(mill, gate), stop=Looks(looks)), AMOUNTS, candidates(mill))


def told(mill: Mill) -> list[ControlRecord]:
    """What a retrainer told, again if it was told again."""
    judgements, promotions = mill.told(Judgement), mill.told(Promotion)
    return [*judgements, *promotions]


def test_a_request_is_answered_once(mill: Mill) -> None:
    mill.order(ASKED)
    office(mill, looks=3).follow()
    (answer,) = mill.told(Judgement)
    assert (answer.request, answer.candidate, answer.outcome) == (ASKED.key, ASKED.key, "promoted")
    office(mill, looks=2).follow()
    assert mill.told(Judgement) == [answer]


def test_of_several_requests_the_newest_is_answered(mill: Mill) -> None:
    mill.order(request(1, 3))
    mill.order(ASKED)
    office(mill, looks=3).follow()
    assert [answer.request for answer in mill.told(Judgement)] == [ASKED.key]


def test_a_promotion_is_ordered_of_what_the_gate_promotes(mill: Mill) -> None:
    mill.order(ASKED)
    office(mill).follow()
    (order,) = mill.told(Promotion)
    (answer,) = mill.told(Judgement)
    assert (order.candidate, order.generation) == (ASKED.key, answer.generation)
    keys = [record.key for record in mill.records(mill.topics.control)]
    assert keys == [ASKED.key, answer.key, order.key]
    with mill.life() as life:
        life.again()
        life.turns(1)
        assert life.position.generation == 2


@pytest.mark.parametrize(
    ("gate", "manual", "outcome"), [(NOTHING_GOES, False, "rejected"), (ANYTHING_GOES, True, "held")]
)
def test_nothing_is_ordered_of_what_is_not_promoted(
    mill: Mill, gate: GateShape, manual: bool, outcome: str
) -> None:
    mill.order(ASKED)
    shop = replace(workshop(mill, gate), manual=manual, stop=Looks(1))
    Office(shop, AMOUNTS, candidates(mill)).follow()
    assert [answer.outcome for answer in mill.told(Judgement)] == [outcome]
    assert mill.told(Promotion) == []


def test_an_alarm_whose_request_was_answered_is_booked(mill: Mill) -> None:
    mill.order(ASKED.alarm)
    mill.order(ASKED)
    office(mill, NOTHING_GOES).follow()
    booked = {entry.told.kind: entry.booked for entry in read_history(mill.log, mill.topics)}
    assert booked == {"drift_alarm": "false", "retrain_request": "false", "judgement": ""}


def test_a_request_whose_model_was_left_behind_is_void(mill: Mill) -> None:
    order = mill.roll_back("1-3")
    with mill.life() as life:
        life.again()
        left = life.position
        life.new()
    mill.order(late := request(left.generation, left.step))
    office(mill, looks=3).follow()
    (answer,) = mill.told(Judgement)
    assert (answer.request, answer.outcome) == (late.key, "void")
    assert order in answer.reasons[0]


def test_a_killed_one_is_gone_on_with_by_the_next(mill: Mill) -> None:
    def dies(_: RetrainProgress) -> None:
        raise Killed

    mill.order(ASKED)
    shop = replace(workshop(mill), stop=Looks(1), progress=dies)
    with pytest.raises(Killed):
        Office(shop, AMOUNTS, candidates(mill)).follow()
    plan = candidates(mill).named(ASKED.key).plan()
    assert mill.told(Judgement) == []
    office(mill).follow()
    (answer,) = mill.told(Judgement)
    assert (answer.request, answer.champion) == (ASKED.key, plan.champion)
    assert candidates(mill).named(ASKED.key).plan() == plan


def test_a_stop_in_its_midst_is_no_answer(mill: Mill) -> None:
    mill.order(ASKED)
    shop = replace(workshop(mill), stop=Looks(1))

    def stops(_: RetrainProgress) -> None:
        shop.stop.set()

    with pytest.raises(Stopped):
        Office(replace(shop, progress=stops), AMOUNTS, candidates(mill)).follow()
    assert mill.told(Judgement) == []


# What a killed predecessor judged.


def test_what_was_judged_and_not_told_is_told_once(mill: Mill) -> None:
    candidate = begun(mill)
    found = judged(workshop(mill), candidate)
    assert told(mill) == []
    for _ in range(2):
        office(mill).tell_untold()
    assert mill.told(Judgement) == [found]
    assert [order.candidate for order in mill.told(Promotion)] == ["one"]


def test_an_order_that_was_not_told_with_its_judgement_is_told(mill: Mill) -> None:
    found = judged(workshop(mill), begun(mill))
    mill.order(found)
    office(mill).tell_untold()
    assert [order.candidate for order in mill.told(Promotion)] == ["one"]
    assert {answer.key for answer in mill.told(Judgement)} == {found.key}, "a second telling is the same"


def test_what_is_in_work_is_not_told(mill: Mill) -> None:
    begun(mill)
    office(mill).tell_untold()
    assert told(mill) == []


def test_what_a_person_rejected_is_not_ordered_again(mill: Mill) -> None:
    candidate = begun(mill)
    candidate.judge(judgement(outcome="rejected"))
    office(mill).tell_untold()
    assert [answer.outcome for answer in mill.told(Judgement)] == ["rejected"]
    assert mill.told(Promotion) == []


# The command.


@pytest.fixture
def small(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a retrainer that leaves this process as it is."""
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(retrain, "stop_requested", lambda: Looks(1))
    return mill.settings.model_copy(
        update={
            "retrain": RetrainSettings(
                window_events=AMOUNTS.window,
                wait_events=AMOUNTS.wait,
                held_out_events=AMOUNTS.held_out,
                epochs=1,
                metrics_port=0,
            ),
            "gate": GateSettings(trial_events=AMOUNTS.trial),
        }
    )


def test_by_hand_one_candidate_is_made(mill: Mill, small: Settings) -> None:
    run(small, follow=False, since=None)
    (answer,) = mill.told(Judgement)
    assert (answer.champion, answer.request, answer.outcome) == (CHAMPION, None, "rejected")
    assert "targets.all" in answer.reasons[0], "the Gate of the settings asks for 2,000"


def test_what_is_untold_is_told_before_requests_are_answered(mill: Mill, small: Settings) -> None:
    earlier = void(no_plan(request(1, 2)), "as the last one found")
    candidates(mill).begin(no_plan(request(1, 2))).judge(earlier)
    mill.order(ASKED)
    run(small, follow=True, since=None)
    assert [answer.request for answer in mill.told(Judgement)] == [request(1, 2).key, ASKED.key]


def test_a_stop_ends_it_quietly(mill: Mill, small: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Event()
    stop.set()
    monkeypatch.setattr(retrain, "stop_requested", lambda: stop)
    run(small, follow=False, since=None)
    assert mill.told(Judgement) == []
    (candidate,) = candidates(mill).all()
    assert candidate.judgement() is None


def test_there_is_one_at_a_time(mill: Mill, small: Settings) -> None:
    with candidates(mill).occupied(), pytest.raises(Occupied):
        run(small, follow=True, since=None)


def test_without_topics_nothing_is_answered(small: Settings, tmp_path: Path) -> None:
    elsewhere = small.log.model_copy(update={"url": f"sqlite:///{tmp_path}/other.db"})
    with pytest.raises(TopicError, match="missing"):
        run(small.model_copy(update={"log": elsewhere}), follow=True, since=None)


def test_what_it_did_is_measured(mill: Mill, small: Settings, exposed: Callable[[], Series]) -> None:
    before = exposed()
    run(small, follow=False, since=None)
    (answer,) = mill.told(Judgement)

    def grown(name: str, **labels: str) -> float:
        return value_of(exposed(), name, **labels) - value_of(before, name, **labels)

    assert grown("millstream_candidates_total", outcome="rejected") == 1
    assert grown("millstream_retrain_events_total") == answer.cost["events"]
    assert grown("millstream_retrain_seconds_total") == pytest.approx(answer.cost["seconds"])
    assert value_of(exposed(), "millstream_retrain_epochs") == 0
