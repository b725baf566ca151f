"""An alarm on its way: from the loop to the control topic, told once, read by an operator."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from pipeline.learning.commits import Cadence, Commits
from pipeline.learning.drift import Action, DriftAlarm, DriftPolicy, RetrainRequest
from pipeline.learning.history import history_table, read_history
from pipeline.learning.loop import run
from tests.mill import Life, Mill


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
    learner.policy = DriftPolicy(Action.RETRAIN, cooldown=1_000_000)
    state = learner.drift.state()
    state["events"] = 1_000_000
    for rises in state["rises"].values():
        rises["means"] = [-50.0 + np.sin(block).item() for block in range(200)]
    learner.drift.load(state)


def _told(mill: Mill) -> list[DriftAlarm | RetrainRequest]:
    return [entry.told for entry in read_history(mill.log, mill.topics)]


def test_an_alarm_is_published_and_listed(mill: Mill) -> None:
    mill.stock()
    mill.shop(600)
    with mill.life() as life:
        _alarm_at_once(life)
        run(life.unlearned(), life.learner, _commits(mill))
    told = _told(mill)
    alarms = [record for record in told if isinstance(record, DriftAlarm)]
    requests = [record for record in told if isinstance(record, RetrainRequest)]
    assert alarms
    assert len(requests) == 1, "the cooldown keeps it at one"
    assert requests[0].alarm == alarms[0]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(history_table(read_history(mill.log, mill.topics)))
    text = console.export_text()
    assert "drift_alarm" in text
    assert "retrain_request" in text
    assert f"{alarms[0].generation}-{alarms[0].step}" in text


def test_what_is_told_again_after_a_crash_is_listed_once(mill: Mill) -> None:
    mill.stock()
    mill.shop(600)
    for _ in range(2):  # no checkpoint was written: the second life learns everything again
        with mill.life() as life:
            _alarm_at_once(life)
            commits = _commits(mill)
            for batch in life.unlearned():
                scores = life.learner.score_and_learn(batch.micro)
                commits.take_in(batch, life.learner.watch(batch.micro, scores))
            commits._done["publish"] = None  # as if the crash had come before the store had it
            commits._publish(life.learner, {}, "test")
            commits._wait()
    keys = [record.key for record in mill.records(mill.topics.control)]
    assert len(keys) == 2 * len(set(keys)), "both lives told the same"
    assert [record.key for record in _told(mill)] == list(dict.fromkeys(keys))
