"""What came of answers is counted by policy and arm, and arms that nobody has set make no series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from prometheus_client import Counter

from consumers.learn.join_metrics import JoinMetrics
from pipeline import metrics
from pipeline.config import StreamConfig, ValueConfig
from pipeline.evaluation import calibration
from pipeline.state.join_state import Leftover, ShownImpression
from pipeline.state.stream import StreamState
from pipeline.value.learners import Skipped, make_learner
from tests.support.decisions import decision
from tests.support.impressions import impression

NO_VALUES = make_learner(ValueConfig(), 1, 1)
COUNTED = (
    metrics.OUTCOMES,
    metrics.REWARDED,
    metrics.RECIPROCAL_PLACES,
    metrics.REWARDS,
    metrics.PENALTIES,
)


def counts(policy: str, arm: str) -> list[float]:
    return [_value(counter, policy, arm) for counter in COUNTED]


def _value(counter: Counter, *labels: str) -> float:
    return float(counter.labels(*labels)._value.get())


def outcome(reward: float, policy: str | None, arm: str | None, second: float = 0.0) -> ShownImpression:
    drawn: dict[str, Any] = {"policy": policy, "policy_version": "1", "propensities": (1.0, 1.0), "pool": 0}
    drawn = drawn if policy else {}
    return ShownImpression.of(impression(arm=arm, **drawn), 0)._replace(rewards=(reward, second))


def test_outcomes_are_counted_by_policy_and_arm() -> None:
    kinds = [("greedy", "control"), ("greedy", "half"), ("other", "other"), ("none", "none")]
    before = {kind: counts(*kind) for kind in kinds}
    stream = StreamState(StreamConfig())
    stream.closed = [
        outcome(3.0, "greedy", "control"),
        outcome(0.0, "greedy", "control", second=2.0),
        outcome(-5.0, "greedy", "half"),
        outcome(1.0, "of-a-stranger", "unheard-of"),
        outcome(1.0, None, None),
    ]
    stream.left[Leftover.LATE] = 2
    late = _value(metrics.LEFTOVERS, "late")
    JoinMetrics({"half"}, window=0).add(stream, NO_VALUES)
    gained = {
        kind: [now - then for now, then in zip(counts(*kind), before[kind], strict=True)] for kind in kinds
    }
    assert gained == {
        ("greedy", "control"): [2, 2, 1.5, 5, 0],
        ("greedy", "half"): [1, 0, 0, 0, 5],
        ("other", "other"): [1, 1, 1, 1, 0],
        ("none", "none"): [1, 1, 1, 1, 0],
    }
    assert _value(metrics.LEFTOVERS, "late") == late + 2


def test_responses_to_what_was_shown_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "WARM_UP", 2)
    stream, joined = StreamState(StreamConfig()), JoinMetrics((), window=1_000)
    shown = impression().model_copy(update={"scores": (0.5, 0.1)})
    for time in (0, 10_000):
        stream.closed = [ShownImpression.of(shown, time)._replace(rewards=(1.0, 0.0))]
        joined.add(stream, NO_VALUES)
    figures = {
        figure: float(metrics.RESPONSE_QUALITY.labels(figure)._value.get())
        for figure in ("n", "roc_auc", "positive")
    }
    assert figures == {"n": 2, "roc_auc": 1, "positive": 0.5}


def test_what_values_are_learned_from_is_counted() -> None:
    joined, values = JoinMetrics((), window=0), make_learner(ValueConfig(learners=("thompson",)), 1, 2)
    before = _value(metrics.UNVALUED, Skipped.MISSHAPEN.value)
    for _ in range(2):
        good, bad = decision(np.ones((1, 2)), np.ones(1)), decision(np.ones((1, 3)), np.ones(1))
        values.learn([good, bad], np.random.default_rng(0))
        joined.add(StreamState(StreamConfig()), values)
    assert float(metrics.VALUED.labels("thompson")._value.get()) == 2
    assert _value(metrics.UNVALUED, Skipped.MISSHAPEN.value) == before + 2
