"""The rule of automatic actions: warm-up, cooldown, at most so many in a row, then a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.monitoring.action_budget import ActionBudget, Answer, BudgetLimits

LIMITS = BudgetLimits(warm_up_events=100, cooldown_events=50, in_a_row=2, calm_events=200)


def acted(budget: ActionBudget, times: Iterable[int]) -> list[int]:
    return [events for events in times if budget.ask(events) is Answer.ACT]


def test_a_cause_that_stays_leads_to_so_many_actions_and_one_report() -> None:
    budget = ActionBudget(LIMITS)
    answers = [budget.ask(events) for events in range(0, 2_000, 10)]
    assert answers.count(Answer.ACT) == LIMITS.in_a_row
    assert answers.count(Answer.SPENT) == 1
    assert budget.is_spent


def test_calm_begins_another_row_but_does_not_renew_a_spent_budget() -> None:
    budget = ActionBudget(LIMITS)
    assert acted(budget, [100, 150, 350, 400]) == [100, 150, 350, 400]
    assert budget.ask(450) is Answer.SPENT
    assert acted(budget, range(1_000, 9_000, 1_000)) == []


def test_a_budget_that_renews_gives_one_action_per_episode() -> None:
    budget = ActionBudget(replace(LIMITS, warm_up_events=0, cooldown_events=0, in_a_row=1, renews=True))
    assert acted(budget, [0, 10, 150, 349, 549, 600, 800]) == [0, 549, 800]


def test_help_ends_a_row_but_does_not_renew_a_spent_budget() -> None:
    budget = ActionBudget(LIMITS)
    assert acted(budget, [100, 150]) == [100, 150]
    budget.helped()
    assert acted(budget, [200, 250, 300]) == [200, 250]
    budget.helped()
    assert acted(budget, [350, 400]) == []


def test_a_person_renews_it_and_ends_the_cooldown() -> None:
    budget = ActionBudget(LIMITS)
    assert acted(budget, [100, 150, 200]) == [100, 150]
    budget.renew()
    assert acted(budget, [201]) == [201]


@given(
    gaps=st.lists(st.integers(0, 300), max_size=60),
    saved=st.integers(0, 60),
    renews=st.booleans(),
)
def test_it_keeps_its_rule_and_a_restored_one_decides_the_same(
    gaps: list[int], saved: int, renews: bool
) -> None:
    limits = replace(LIMITS, renews=renews)
    budget, events, row, last = ActionBudget(limits), 0, 0, -1_000
    for number, gap in enumerate(gaps):
        events += gap
        if number == saved:
            restored = ActionBudget(limits)
            restored.load(orjson.loads(orjson.dumps(budget.state())))
            assert restored.state() == budget.state()
            budget = restored
        row = 0 if gap >= limits.calm_events else row
        if budget.ask(events) is Answer.ACT:
            assert events >= limits.warm_up_events
            assert events - last >= limits.cooldown_events
            row, last = row + 1, events
            assert row <= limits.in_a_row
