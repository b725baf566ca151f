"""An alarm on its way: from the loop to the control topic, told once, read by an operator."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from pipeline.learning.batches import Batch
from pipeline.learning.commits import Cadence, Commits
from pipeline.learning.control import (
    Adoption,
    ControlRecord,
    JudgementOutcome,
    Promotion,
    Refusal,
    Rollback,
)
from pipeline.learning.drift import Action, DriftAlarm, DriftPolicy, RetrainRequest
from pipeline.learning.history import history_table, read_history
from pipeline.learning.loop import run
from tests.life import Life
from tests.mill import Mill
from tests.workshop import judgement, request


def _commits(mill: Mill) -> Commits:
    never = 1_000_000
    return Commits(
        mill.settings.log.prefix,
        mill.log,
        mill.publisher(),
        mill.checkpoints,
        publish=Cadence(never, never),
        checkpoint=Cadence(never, never),
    )


def _alarm_at_once(life: Life) -> None:
    """Let the monitor have seen far better times: every loss is a rise."""
    learner = life.learner
    learner.overseer.policy = DriftPolicy(Action.RETRAIN, cooldown=1_000_000)
    state = learner.overseer.monitor.state()
    state["events"] = 1_000_000
    for rises in state["rises"].values():
        rises["means"] = [-50.0 + np.sin(block).item() for block in range(200)]
    learner.overseer.monitor.load(state)


def _told(mill: Mill) -> list[ControlRecord]:
    return [entry.told for entry in read_history(mill.log, mill.topics)]


def test_an_alarm_is_published_and_listed(mill: Mill) -> None:
    mill.stock()
    mill.shop(600)
    with mill.life() as life:
        _alarm_at_once(life)
        run(life.unlearned(), life.learner, _commits(mill), mill.checkpoints)
    told = _told(mill)
    alarms = [record for record in told if isinstance(record, DriftAlarm)]
    requests = [record for record in told if isinstance(record, RetrainRequest)]
    assert alarms
    assert len(requests) == 1, "the cooldown keeps it at one"
    assert requests[0].alarm == alarms[0]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(history_table(read_history(mill.log, mill.topics)))
    text = console.export_text()
    assert f"alarm: {alarms[0].signal}" in text
    assert "retrain requested" in text
    assert f"{alarms[0].generation}-{alarms[0].step}" in text


def test_what_is_told_again_after_a_crash_is_listed_once(mill: Mill) -> None:
    mill.stock()
    mill.shop(600)
    for _ in range(2):  # no checkpoint was written: the second life learns everything again
        with mill.life() as life:
            _alarm_at_once(life)
            commits = _commits(mill)
            for batch in life.unlearned():
                assert isinstance(batch, Batch)
                scores = life.learner.score_and_learn(batch.micro)
                commits.take_in(batch, life.learner.watch(batch.micro, scores))
            commits._done["publish"] = None  # as if the crash had come before the store had it
            commits._publish(life.learner, {}, "test")
            commits._wait()
    keys = [record.key for record in mill.records(mill.topics.control)]
    assert len(keys) == 2 * len(set(keys)), "both lives told the same"
    assert [record.key for record in _told(mill)] == list(dict.fromkeys(keys))


# What an operator reads of it.


def _table(mill: Mill) -> list[str]:
    """The rows, a line each unless they are long."""
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(history_table(read_history(mill.log, mill.topics)))
    return console.export_text().splitlines()


KINDS = [
    (request(1, 4).alarm, r"1-4 +│ alarm: loss +│ 1 → 2 after 9 events"),
    (request(1, 4), r"1-4 +│ retrain requested +│ +│ alarm: loss"),
    (
        judgement(outcome="rejected"),
        r"1-7 +│ one rejected +│ log-loss \+0\.2500 \[\+0\.1250, \+0\.5000\] +│ it is b",
    ),
    (
        Promotion(candidate="one", generation=1, ordered_at=0, reason="better"),
        r"promotion of one ordered +│ +│ better",
    ),
    (
        Rollback(version="1-3", relearn=True, generation=None, ordered_at=0, reason="worse"),
        r"1-3 +│ rollback ordered +│ what came since is learned again +│ worse",
    ),
    (
        Rollback(version="1-3", relearn=False, generation=None, ordered_at=0, reason="worse"),
        r"1-3 +│ rollback ordered +│ what came since is folded +│ worse",
    ),
    (
        Adoption(order="promotion-one-0", version="2-9", left="1-12", reason="better"),
        r"2-9 +│ adopted +│ after 1-12 +│ better",
    ),
    (
        Refusal(order="promotion-one-0", reason="it is gone"),
        r"promotion-one-0 refused +│ +│ it is gone",
    ),
]


@pytest.mark.parametrize(("record", "row"), KINDS, ids=lambda told: getattr(told, "kind", ""))
def test_each_kind_has_its_row(mill: Mill, record: ControlRecord, row: str) -> None:
    mill.order(record)
    assert any(re.search(row, line) for line in _table(mill))
    assert _told(mill) == [record]


def test_what_a_candidate_cost_is_told(mill: Mill) -> None:
    mill.order(judgement())
    assert any("12 s, 4,096 events, 3 MiB" in line for line in _table(mill))


@pytest.mark.parametrize(
    ("outcome", "booked"), [("promoted", "won"), ("rejected", "false"), ("held", ""), ("void", "")]
)
def test_an_alarm_is_booked_by_what_its_retrain_came_to(
    mill: Mill, outcome: JudgementOutcome, booked: str
) -> None:
    answered, other = request(1, 4), request(2, 9)
    for record in (answered.alarm, answered, other.alarm, other):
        mill.order(record)
    mill.order(judgement(outcome=outcome, request=answered.key))
    mill.order(judgement("by-hand", "promoted"))
    found = {entry.told.key: entry.booked for entry in read_history(mill.log, mill.topics)}
    assert found[answered.alarm.key] == found[answered.key] == booked
    assert found[other.alarm.key] == found[other.key] == ""


def test_a_person_has_the_last_word(mill: Mill) -> None:
    mill.order(request(1, 4))
    mill.order(judgement(outcome="held", request=request(1, 4).key))
    mill.order(judgement(outcome="rejected", request=request(1, 4).key))
    assert read_history(mill.log, mill.topics)[0].booked == "false"


@pytest.mark.parametrize(
    "wire", [b"", b"\xff", b"[]", b"1", b"{}", b'{"kind":"party"}', b'{"kind":"rollback"}']
)
def test_what_is_no_record_of_ours_is_left_out(
    mill: Mill, wire: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    mill.order(request(1, 4))
    mill.control(wire)
    mill.order(request(1, 5))
    assert _told(mill) == [request(1, 4), request(1, 5)]
    assert "no record of ours" in caplog.text
