"""The supervisor reports what its parts find, orders a rollback by itself, and outlives the models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
import torch

from pipeline.config import DriftConfig, GuardConfig
from pipeline.control.alarms import BudgetSpent, DriftAlarm, RetrainRequest, Signal
from pipeline.control.records import ControlRecord, Rollback
from pipeline.evaluation.prequential import SCORERS, Scores, TargetScores, empty_scores
from pipeline.monitoring.drift import Acts
from pipeline.monitoring.supervisor import Supervisor

DRIFT = DriftConfig(warm_up_events=500, action="retrain", cooldown_events=10**6)
GUARD = GuardConfig()
CONTENT = torch.from_numpy(np.random.default_rng(9).normal(size=(50, 8))).float()
BATCH = 64


def batch(step: int, lead: float) -> Scores:
    """Scores of a batch in which model and mixture are so many nats ahead of the memory."""
    random = np.random.default_rng(step)
    covisitation = -random.normal(6, 2, BATCH)
    ahead = TargetScores(np.ones(BATCH), covisitation + lead + random.normal(0, 0.5, BATCH))
    by_scorer = dict.fromkeys(SCORERS, TargetScores(np.ones(BATCH), covisitation)) | {
        "model": ahead,
        "mixture": ahead,
    }
    every = np.ones(BATCH, dtype=np.bool_)
    slices = {"all": every, "first_of_basket": ~every, "cold": ~every}
    return replace(empty_scores(), by_scorer=by_scorer, slices=slices)


def watch(supervisor: Supervisor, steps: range, lead: float, generation: int = 1) -> list[ControlRecord]:
    records: list[ControlRecord] = []
    for step in steps:
        acts = Acts(np.random.default_rng(step).integers(50, size=BATCH), CONTENT)
        records += supervisor.watch(generation, step, batch(step, lead), acts)
    return records


def calm(guard: GuardConfig = GUARD) -> Supervisor:
    supervisor = Supervisor(DRIFT, guard)
    assert watch(supervisor, range(1, 101), 1.0) == []
    return supervisor


def rollbacks(records: list[ControlRecord]) -> list[Rollback]:
    return [record for record in records if isinstance(record, Rollback)]


def test_a_model_gone_wrong_is_told_of_asked_about_and_taken_back() -> None:
    records = watch(calm(), range(101, 130), -1.0)
    signals = {record.signal for record in records if isinstance(record, DriftAlarm)}
    assert Signal.LEAD in signals
    assert len([record for record in records if isinstance(record, RetrainRequest)]) == 1
    rollback = rollbacks(records)[0]
    assert (rollback.generation, rollback.relearn, rollback.ordered_at) == (1, False, 0)
    assert 90 <= int(rollback.version.removeprefix("1-")) <= 101
    assert "fell from" in rollback.reason


def test_what_is_told_follows_from_what_was_shown() -> None:
    first, second = (watch(calm(), range(101, 130), -1.0) for _ in range(2))
    assert first == second
    assert [record.key for record in first] == [record.key for record in second]


def test_a_rollback_may_be_left_to_people() -> None:
    records = watch(calm(GUARD.replace(rollback=False)), range(101, 130), -1.0)
    assert rollbacks(records) == []
    assert any(isinstance(record, DriftAlarm) for record in records)


def test_after_a_promotion_the_version_before_it_is_the_one_to_return_to() -> None:
    supervisor = calm()
    supervisor.adopted("promotion", "1-100", by_person=False)
    (rollback,) = rollbacks(watch(supervisor, range(95, 103), -1.0, generation=2))
    assert (rollback.version, rollback.generation) == ("1-100", 2)


def test_after_a_rollback_nothing_is_on_trial() -> None:
    supervisor = calm()
    supervisor.adopted("promotion", "1-100", by_person=False)
    watch(supervisor, range(95, 97), 1.0, generation=2)
    supervisor.adopted("rollback", "2-96", by_person=False)
    assert supervisor.guard.state()["probation"] is None
    assert supervisor.guard.state()["recent"] == []


@pytest.mark.parametrize("kind", ["promotion", "rollback"])
def test_after_an_adoption_drift_is_measured_anew_and_the_cooldown_goes_on(kind: str) -> None:
    supervisor = calm()
    watch(supervisor, range(101, 130), -1.0)
    asked = supervisor.state()["requests"]
    assert asked["acted_at"] is not None
    supervisor.adopted("promotion" if kind == "promotion" else "rollback", "1-129", by_person=False)
    fresh = Supervisor(DRIFT, GUARD).state()["monitor"]
    state = supervisor.state()
    assert {**state["monitor"], "events": 0, "episodes": fresh["episodes"]} == fresh
    assert state["monitor"]["events"] == 129 * BATCH
    assert state["requests"] == asked


def test_it_names_versions_that_there_were_where_a_generation_began_without_an_adoption() -> None:
    """As when the settings change: 2-101 comes after 1-100, and there is no 2-100."""
    supervisor = calm()
    restored = Supervisor(DRIFT, GUARD)
    restored.load(supervisor.state())
    watch(restored, range(101, 103), 1.0, generation=2)
    assert [version for _, version in restored.guard.state()["recent"]][-4:] == 2 * ["1-100"] + 2 * ["2-101"]
    restored.adopted("rollback", "2-102", by_person=False)
    watch(restored, range(51, 52), 1.0, generation=3)
    assert [version for _, version in restored.guard.state()["recent"]] == 2 * ["3-50"]


def test_a_restored_supervisor_reports_the_same() -> None:
    unbroken = calm()
    for step in (105, 112, 119):
        restored = Supervisor(DRIFT, GUARD)
        restored.load(orjson.loads(orjson.dumps(unbroken.state())))
        steps = range(step, step + 7)
        assert watch(restored, steps, -1.0) == watch(unbroken, steps, -1.0)
        assert restored.state() == unbroken.state()


def test_after_two_rollbacks_without_help_a_person_is_called_once() -> None:
    supervisor = calm()
    records = [r for r in watch(supervisor, range(101, 501), -1.0) if isinstance(r, Rollback | BudgetSpent)]
    assert [record.kind for record in records] == ["rollback", "rollback", "budget_spent"]
    steps = [int(record.reason.split()[1].removeprefix("1-")) for record in records]
    assert min(np.diff(steps)) * BATCH >= GUARD.cooldown_events
    later = watch(supervisor, range(501, 801), -5.0)
    assert not any(isinstance(record, Rollback | BudgetSpent) for record in later)


@pytest.mark.parametrize("by_person", [True, False])
def test_only_an_order_by_a_person_renews_spent_budgets(by_person: bool) -> None:
    supervisor = calm()
    watch(supervisor, range(101, 501), -1.0)
    assert supervisor.rollbacks.is_spent
    supervisor.adopted("rollback", "1-500", by_person=by_person)
    assert supervisor.rollbacks.is_spent is not by_person
    watch(supervisor, range(500, 601), -1.0, generation=2)
    later = rollbacks(watch(supervisor, range(601, 641), -4.0, generation=2))
    assert len(later) == int(by_person)


def test_nothing_is_taken_back_during_the_warm_up_and_a_fall_that_lasts_is_after_it() -> None:
    supervisor = Supervisor(DRIFT, GUARD.replace(warm_up_events=10_000))
    watch(supervisor, range(1, 101), 1.0)
    (rollback,) = rollbacks(watch(supervisor, range(101, 171), -1.0))
    assert int(rollback.reason.split()[1].removeprefix("1-")) * BATCH >= 10_000


def test_a_promotion_that_survives_its_probation_has_helped() -> None:
    supervisor = calm()
    assert len(rollbacks(watch(supervisor, range(101, 130), -1.0))) == 1
    assert (supervisor.rollbacks.row, supervisor.policy.budget.row) == (1, 1)
    supervisor.adopted("promotion", "1-129", by_person=False)
    watch(supervisor, range(130, 130 + GUARD.probation * GUARD.block // BATCH + 1), 1.0, generation=2)
    assert (supervisor.rollbacks.row, supervisor.policy.budget.row) == (0, 0)
