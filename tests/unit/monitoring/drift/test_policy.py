"""The drift policy: one drift leads to one request."""

from __future__ import annotations

import pytest

from pipeline.control.alarms import DriftAlarm, Signal
from pipeline.monitoring.drift import DriftPolicy

COOLDOWN = 1_000


def alarm(events: int, signal: Signal = Signal.LOSS) -> DriftAlarm:
    return DriftAlarm(signal=signal, generation=1, step=events, events=events, before=0, after=1, evidence={})


def test_the_alarms_of_one_batch_lead_to_one_request() -> None:
    request = DriftPolicy("retrain", COOLDOWN).decide([alarm(5), alarm(5, Signal.CONTENT)])
    assert request is not None
    assert request.alarm == alarm(5)


def test_no_alarm_no_request() -> None:
    assert DriftPolicy("retrain", COOLDOWN).decide([]) is None


def test_the_log_action_requests_nothing() -> None:
    assert DriftPolicy("log", COOLDOWN).decide([alarm(5)]) is None


@pytest.mark.parametrize("restarts", [False, True])
def test_there_is_no_second_request_before_the_cooldown_is_over(restarts: bool) -> None:
    policy = DriftPolicy("retrain", COOLDOWN)
    requested = []
    for events in (0, 1, 999, 1_000, 1_500, 2_000):
        if restarts:
            state = policy.state()
            policy = DriftPolicy("retrain", COOLDOWN)
            policy.load(state)
        requested += [events] if policy.decide([alarm(events)]) else []
    assert requested == [0, 1_000, 2_000]
