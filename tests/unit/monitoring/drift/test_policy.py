"""The drift policy: one drift leads to one request, and requests that do not help come to an end."""

from __future__ import annotations

import pytest

from pipeline.config import DriftConfig
from pipeline.control.alarms import BudgetSpent, DriftAlarm, RetrainRequest, Signal
from pipeline.monitoring.drift import DriftPolicy

COOLDOWN = 1_000
CONFIG = DriftConfig(action="retrain", cooldown_events=COOLDOWN, warm_up_events=0, calm_events=10_000)


def alarm(events: int, signal: Signal = Signal.LOSS) -> DriftAlarm:
    return DriftAlarm(signal=signal, generation=1, step=events, events=events, before=0, after=1, evidence={})


def test_the_alarms_of_one_batch_lead_to_one_request() -> None:
    request = DriftPolicy(CONFIG).decide([alarm(5), alarm(5, Signal.CONTENT)])
    assert isinstance(request, RetrainRequest)
    assert request.alarm == alarm(5)


def test_no_alarm_no_request() -> None:
    assert DriftPolicy(CONFIG).decide([]) is None


def test_the_log_action_requests_nothing() -> None:
    assert DriftPolicy(CONFIG.replace(action="log")).decide([alarm(5)]) is None


@pytest.mark.parametrize("restarts", [False, True])
def test_there_is_no_second_request_before_the_cooldown_is_over(restarts: bool) -> None:
    config = CONFIG.replace(in_a_row=3)
    policy = DriftPolicy(config)
    requested = []
    for events in (0, 1, 999, 1_000, 1_500, 2_000):
        if restarts:
            state = policy.budget.state()
            policy = DriftPolicy(config)
            policy.budget.load(state)
        requested += [events] if policy.decide([alarm(events)]) else []
    assert requested == [0, 1_000, 2_000]


def test_after_two_requests_without_help_a_person_is_called_once() -> None:
    policy = DriftPolicy(CONFIG)
    decided = [policy.decide([alarm(events)]) for events in range(0, 20_000, 500)]
    kinds = [type(record) for record in decided if record is not None]
    assert kinds == [RetrainRequest, RetrainRequest, BudgetSpent]
    (spent,) = (record for record in decided if isinstance(record, BudgetSpent))
    assert (spent.key, spent.in_a_row) == ("spent-1-2000-retrain_request", 2)


def test_nothing_is_requested_during_the_warm_up() -> None:
    policy = DriftPolicy(CONFIG.replace(warm_up_events=100))
    assert policy.decide([alarm(99)]) is None
    assert policy.decide([alarm(100)]) is not None
