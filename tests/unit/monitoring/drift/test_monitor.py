"""The monitor: what raises each signal, after the warm-up, with which key, and after a restart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import DriftConfig
from pipeline.control.alarms import DriftAlarm, RetrainRequest, Signal
from pipeline.evaluation.prequential import SCORERS, Scores, TargetScores, empty_scores
from pipeline.monitoring.drift import Acts, DriftMonitor

CONFIG = DriftConfig(warm_up_events=1_000)
CONTENT = torch.from_numpy(np.random.default_rng(9).normal(size=(200, 8))).float()
BATCH = 64


def batch(step: int, model: float = 5.0, covisitation: float = 6.0, misses: float = 0.5) -> Scores:
    """Scores of a batch with the given mean losses and share of misses; half are first of basket."""
    random = np.random.default_rng(step)
    hard = random.normal(0, 1, BATCH)
    means = {
        "model": model,
        "covisitation": covisitation,
        "popularity": 7.0,
        "mixture": min(model, covisitation),
    }
    ranks = np.where(random.random(BATCH) < misses, 100.0, 1.0)
    by_scorer = {name: TargetScores(ranks, -(means[name] + hard)) for name in SCORERS}
    every = np.ones(BATCH, dtype=np.bool_)
    first = np.arange(BATCH) % 2 == 0
    slices = {"all": every, "first_of_basket": first, "cold": ~every}
    return replace(empty_scores(), by_scorer=by_scorer, slices=slices)


def acts(step: int, rows: int = 200) -> Acts:
    return Acts(np.random.default_rng(step).integers(rows, size=BATCH), CONTENT)


def alarms(monitor: DriftMonitor, steps: range, rows: int = 200, **means: float) -> list[DriftAlarm]:
    return [
        alarm for step in steps for alarm in monitor.update(1, step, batch(step, **means), acts(step, rows))
    ]


CALM = range(120)


@pytest.mark.parametrize(
    ("worse", "signals"),
    [
        ({"model": 6.5, "covisitation": 7.5}, {Signal.LOSS}),
        ({"model": 6.0, "covisitation": 5.0}, {Signal.LEAD}),
        ({"misses": 0.95}, {Signal.FIRST_OF_BASKET}),
    ],
)
def test_each_change_raises_its_own_signal(worse: dict[str, float], signals: set[Signal]) -> None:
    monitor = DriftMonitor(CONFIG)
    assert alarms(monitor, CALM) == []
    raised = alarms(monitor, range(120, 220), 200, **worse)
    assert {alarm.signal for alarm in raised} == signals
    assert all(alarm.after > alarm.before for alarm in raised)


def test_a_content_alarm_reports_the_index() -> None:
    monitor = DriftMonitor(CONFIG)
    assert alarms(monitor, CALM) == []
    (alarm,) = alarms(monitor, range(120, 140), rows=40)
    assert alarm.signal is Signal.CONTENT
    assert alarm.after == alarm.evidence["index"] > CONFIG.content.threshold


def test_a_catalogue_that_grows_raises_no_alarm() -> None:
    """All items take an equal part of the model's probability, and of the places of the list."""
    monitor, raised = DriftMonitor(CONFIG), list[DriftAlarm]()
    for step in range(300):
        items = 200 + 20 * max(0, step - 120)
        scores = batch(step, np.log(items), np.log(items), 1 - 100 / items)
        rows = acts(step, rows=40).rows
        raised += monitor.update(1, step, scores, Acts(rows, CONTENT[np.arange(items) % len(CONTENT)]))
    assert raised == []


def test_misses_are_compared_while_the_catalogue_grows_slowly() -> None:
    monitor, raised = DriftMonitor(CONFIG), list[DriftAlarm]()
    for step in range(220):
        content = CONTENT[np.arange(200 + step // 8) % len(CONTENT)]
        scores = batch(step, misses=0.5 if step < 120 else 0.95)
        raised += monitor.update(1, step, scores, Acts(acts(step).rows, content))
    assert {alarm.signal for alarm in raised} == {Signal.FIRST_OF_BASKET}


def test_an_improvement_raises_no_alarm() -> None:
    monitor = DriftMonitor(CONFIG)
    for tenth in range(10):
        steps = range(100 * tenth, 100 * (tenth + 1))
        assert (
            alarms(monitor, steps, model=8 - tenth / 2, covisitation=8.5 - tenth / 4, misses=1 - tenth / 10)
            == []
        )


def test_an_episode_of_a_signal_raises_one_alarm_and_the_next_episode_another() -> None:
    """The loss rises by steps, 1,920 events apart, and once more after a pause of 6,400."""
    monitor = DriftMonitor(CONFIG)
    assert alarms(monitor, CALM) == []
    raised = list[DriftAlarm]()
    for number, steps in enumerate([range(120, 150), range(150, 180), range(180, 280), range(280, 320)]):
        worse = min(number, 2) + (number == 3) + 1.0
        raised += alarms(monitor, steps, model=5.0 + worse, covisitation=6.0 + worse)
    assert [alarm.signal for alarm in raised] == [Signal.LOSS] * 2
    first, second = (alarm.events for alarm in raised)
    assert first < 130 * BATCH
    assert second > 280 * BATCH


def test_no_alarm_is_raised_during_the_warm_up() -> None:
    monitor = DriftMonitor(CONFIG.replace(warm_up_events=120 * BATCH))
    assert (
        alarms(monitor, range(60)) == alarms(monitor, range(60, 120), model=9, covisitation=9, misses=1) == []
    )
    assert alarms(monitor, range(120, 240), model=9, covisitation=9, misses=1) == []


def test_after_an_adoption_the_new_model_is_compared_with_itself() -> None:
    monitor = DriftMonitor(CONFIG)
    alarms(monitor, CALM)
    monitor.reset()
    assert alarms(monitor, range(120, 240), model=7, covisitation=9, misses=0.9) == []


def test_keys_depend_on_the_learners_position() -> None:
    (first, *_), (again, *_) = (
        alarms(monitor, CALM) + alarms(monitor, range(120, 220), model=7, covisitation=8)
        for monitor in (DriftMonitor(CONFIG), DriftMonitor(CONFIG))
    )
    assert first == again
    assert first.key == again.key == f"drift-1-{first.step}-loss"
    assert first.events == (first.step + 1) * BATCH


def test_batches_without_finite_scores_change_nothing_else() -> None:
    monitor, no_acts = DriftMonitor(CONFIG), Acts(np.zeros(0, dtype=np.int64), CONTENT)
    alarms(monitor, CALM)
    before = monitor.state()
    broken = batch(0)
    broken.by_scorer["mixture"].log_probabilities[:] = np.nan
    broken.by_scorer["model"].log_probabilities[:] = -np.inf
    assert monitor.update(1, 120, empty_scores(), no_acts) == []
    assert monitor.state() == before
    assert monitor.update(1, 121, broken, no_acts) == []
    assert monitor.state()["rises"]["lead"] == before["rises"]["lead"]
    assert monitor.state()["rises"]["loss"] == before["rises"]["loss"]


@settings(max_examples=8, deadline=None)
@given(saved=st.integers(0, 199))
def test_a_restored_monitor_raises_the_same_alarms(saved: int) -> None:
    def play(monitor: DriftMonitor, steps: range) -> list[DriftAlarm]:
        calm, worse = range(steps.start, min(steps.stop, 120)), range(max(steps.start, 120), steps.stop)
        return alarms(monitor, calm) + alarms(
            monitor, worse, rows=40, model=6.5, covisitation=7.5, misses=0.9
        )

    unbroken = DriftMonitor(CONFIG)
    earlier = play(unbroken, range(saved))
    restored = DriftMonitor(CONFIG)
    restored.load(orjson.loads(orjson.dumps(unbroken.state())))
    later = play(unbroken, range(saved, 200))
    assert play(restored, range(saved, 200)) == later
    assert restored.state() == unbroken.state()
    assert {alarm.signal for alarm in earlier + later} >= {Signal.LOSS, Signal.CONTENT}


def test_alarms_and_requests_are_decoded_as_encoded() -> None:
    alarm = DriftAlarm(
        signal=Signal.LOSS, generation=1, step=2, events=3, before=0.1, after=0.7, evidence={"x": 1 / 3}
    )
    request = RetrainRequest(alarm=alarm)
    assert DriftAlarm.decode(alarm.encode()) == alarm
    assert RetrainRequest.decode(request.encode()) == request
    assert (alarm.key, request.key) == ("drift-1-2-loss", "retrain-drift-1-2-loss")
    with pytest.raises(ValueError):
        RetrainRequest.decode(alarm.encode())
