"""An alarm on its way: from the loop to the control topic, listed once, read by an operator."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from consumers.learn.loop import run
from pipeline.config import DriftConfig
from pipeline.control.actions import OperatorAction, Removal
from pipeline.control.alarms import DriftAlarm, RetrainRequest
from pipeline.control.history import read_history
from pipeline.control.records import (
    Adoption,
    ControlRecord,
    DecisionOutcome,
    Gap,
    Promotion,
    Refusal,
    Rollback,
)
from pipeline.journal.turns import Batch
from pipeline.monitoring.drift import DriftPolicy
from pipeline.reports.history import history_cells, history_table
from pipeline.training.supervision import supervise
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import ModelHarness
from tests.support.retrain_harness import decision, request


def _alarm_at_once(learning: LearnerHarness) -> None:
    """Let the monitor have seen far better times: every loss is a rise."""
    learning.supervisor.policy = DriftPolicy(
        DriftConfig(action="retrain", cooldown_events=1_000_000, warm_up_events=0)
    )
    state = learning.supervisor.monitor.state()
    state["events"] = 1_000_000
    for rises in state["rises"].values():
        rises["means"] = [-50.0 + np.sin(block).item() for block in range(200)]
    learning.supervisor.monitor.load(state)


def _records(harness: ModelHarness) -> list[ControlRecord]:
    return [entry.record for entry in read_history(harness.log, harness.topics)]


def test_an_alarm_is_published_and_listed(harness: ModelHarness) -> None:
    harness.stock()
    harness.shop(600)
    with harness.learning() as learning:
        _alarm_at_once(learning)
        commits = harness.commits(learning)
        run(learning.unlearned(), learning.learner, learning.supervisor, commits, harness.checkpoints)
    records = _records(harness)
    alarms = [record for record in records if isinstance(record, DriftAlarm)]
    requests = [record for record in records if isinstance(record, RetrainRequest)]
    assert alarms
    assert len(requests) == 1, "the cooldown keeps it at one"
    assert requests[0].alarm == alarms[0]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(history_table(read_history(harness.log, harness.topics)))
    text = console.export_text()
    assert f"alarm: {alarms[0].signal}" in text
    assert "retrain requested" in text
    assert f"{alarms[0].generation}-{alarms[0].step}" in text


def test_what_is_published_twice_after_a_crash_is_listed_once(harness: ModelHarness) -> None:
    harness.stock()
    harness.shop(600)
    for _ in range(2):  # no checkpoint was written: the second learner recovers everything
        with harness.learning() as learning:
            _alarm_at_once(learning)
            commits = harness.commits(learning)
            for batch in learning.unlearned():
                assert isinstance(batch, Batch)
                scores = learning.learner.score_and_learn(batch.micro)
                records = supervise(learning.supervisor, learning.learner, batch.micro, scores)
                commits.add(batch, records)
            commits._publishing.covered = None  # as if the crash had come before the store had it
            commits._publish({}, "test")
            commits._wait()
    keys = [record.key for record in harness.records(harness.topics.control)]
    assert len(keys) == 2 * len(set(keys)), "both learners published the same"
    assert [record.key for record in _records(harness)] == list(dict.fromkeys(keys))


# What an operator reads of it.


def _table(harness: ModelHarness) -> list[str]:
    """The rows, a line each unless they are long."""
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(history_table(read_history(harness.log, harness.topics)))
    return console.export_text().splitlines()


KINDS = [
    (request(1, 4).alarm, r"1-4 +│ alarm: loss +│ 1 → 2 after 9 events"),
    (request(1, 4), r"1-4 +│ retrain requested +│ +│ alarm: loss"),
    (
        decision(outcome="rejected"),
        r"1-7 +│ one rejected +│ log-loss \+0\.2500 \[\+0\.1250, \+0\.5000\] +│ it is b",
    ),
    (
        Promotion(candidate="one", generation=1, ordered_at=0, reason="better"),
        r"promotion of one ordered +│ +│ better",
    ),
    (
        Rollback(version="1-3", relearn=True, generation=None, ordered_at=0, reason="worse"),
        r"1-3 +│ rollback ordered +│ later events are learned again +│ worse",
    ),
    (
        Rollback(version="1-3", relearn=False, generation=None, ordered_at=0, reason="worse"),
        r"1-3 +│ rollback ordered +│ later events are folded +│ worse",
    ),
    (
        Adoption(order="promotion-one-0", version="2-9", left="1-12", reason="better"),
        r"2-9 +│ adopted +│ after 1-12 +│ better",
    ),
    (
        Gap(version="2-9", left="1-8", lost=2_000, reason="shop.items was deleted"),
        r"2-9 +│ gap accepted +│ after 1-8, 2,000 records lost +│ shop.items was deleted",
    ),
    (
        Refusal(order="promotion-one-0", reason="it is gone"),
        r"promotion-one-0 refused +│ +│ it is gone",
    ),
]


@pytest.mark.parametrize(("record", "row"), KINDS, ids=lambda records: getattr(records, "kind", ""))
def test_each_kind_has_its_row(harness: ModelHarness, record: ControlRecord, row: str) -> None:
    harness.order(record)
    assert any(re.search(row, line) for line in _table(harness))
    assert _records(harness) == [record]


def test_what_a_candidate_cost_is_told(harness: ModelHarness) -> None:
    harness.order(decision())
    assert any("12 s, 4,096 events, 3 MiB" in line for line in _table(harness))


@pytest.mark.parametrize(
    ("outcome", "booked"), [("promoted", "won"), ("rejected", "false"), ("held", ""), ("cancelled", "")]
)
def test_an_alarm_is_booked_by_what_its_retrain_came_to(
    harness: ModelHarness, outcome: DecisionOutcome, booked: str
) -> None:
    answered, other = request(1, 4), request(2, 9)
    for record in (answered.alarm, answered, other.alarm, other):
        harness.order(record)
    harness.order(decision(outcome=outcome, request=answered.key))
    harness.order(decision("by-hand", "promoted"))
    found = {entry.record.key: entry.result for entry in read_history(harness.log, harness.topics)}
    assert found[answered.alarm.key] == found[answered.key] == booked
    assert found[other.alarm.key] == found[other.key] == ""


def test_a_person_has_the_last_word(harness: ModelHarness) -> None:
    harness.order(request(1, 4))
    harness.order(decision(outcome="held", request=request(1, 4).key))
    harness.order(decision(outcome="rejected", request=request(1, 4).key))
    assert read_history(harness.log, harness.topics)[0].result == "false"


@pytest.mark.parametrize(
    "wire", [b"", b"\xff", b"[]", b"1", b"{}", b'{"kind":"party"}', b'{"kind":"rollback"}']
)
def test_what_is_no_record_of_ours_is_dropped(
    harness: ModelHarness, wire: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    harness.order(request(1, 4))
    harness.control(wire)
    harness.order(request(1, 5))
    assert _records(harness) == [request(1, 4), request(1, 5)]
    assert "cannot be decoded" in caplog.text


def test_what_a_person_did_at_the_console_stands_in_the_history() -> None:
    action = OperatorAction(by="olga", action="rollback", subject="1-1", reason="worse", asked_at=9)
    assert action.key == "action-rollback-9"
    assert OperatorAction.decode(action.encode()) == action
    assert history_cells(action) == ("", "olga asked: rollback 1-1", "", "worse")


def test_who_was_removed_stands_in_the_history_by_a_digest_at_most(harness: ModelHarness) -> None:
    named, unnamed = (
        Removal(subject=subject, reason="asked", removed_at=time)
        for time, subject in enumerate(("hmac:1f", ""))
    )
    for removal in (named, unnamed):
        harness.order(removal)
    assert _records(harness) == [named, unnamed]
    assert [history_cells(removal)[1] for removal in (named, unnamed)] == [
        "user removed hmac:1f",
        "user removed",
    ]
