"""Shadows: the propensities of policies that are not used, for what the used one has shown."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.config import PolicyConfig
from pipeline.events import Item
from pipeline.policy.draws import Exploration, Valued
from pipeline.policy.policies import GREEDY, EpsilonGreedy, PlackettLuce, Thompson, make_shadows
from pipeline.policy.port import Policy
from pipeline.rules.columns import Column
from pipeline.rules.slate import Cap, Pin, Slate, make_slate

ITEMS, K = 5, 4
LOGITS = np.array([2.0, 1.5, 1.0, 0.2, 0.0])
VALUES = np.random.default_rng(0).normal(size=(8, ITEMS))
USED = PlackettLuce(explored_places=3, pool=4, epsilon=0.3, temperature=2.0)
SHADOWS: dict[str, Policy] = {
    "greedy": GREEDY,
    "same": USED,
    "few": PlackettLuce(explored_places=2, pool=3, epsilon=0.0, temperature=0.5),
    "one": EpsilonGreedy(explored_places=1, pool=2, epsilon=0.5),
    "thompson": Thompson(explored_places=2, pool=3, epsilon=0.1),
}
STOCK = [Item(item=f"i{row}", title="", category=category) for row, category in enumerate("aabbc")]
CAP = Cap(None, 1, Column.of(STOCK, None, {}))


def slate_of(number: int, **limits: Any) -> Slate:
    sampler = Exploration(USED, f"i{number}", SHADOWS).sampler(
        LOGITS, lambda _, rows: Valued(VALUES[:, rows])
    )
    return make_slate(np.arange(ITEMS), K, sampler=sampler, **limits)


@pytest.mark.parametrize(
    "limits", [{}, {"pins": [Pin("rule", 4, 2)]}, {"caps": [CAP]}], ids=["none", "pin", "cap"]
)
def test_the_weights_of_every_shadow_have_a_mean_of_one(limits: dict[str, Any]) -> None:
    """That holds if its propensities are a policy's, over slates that the used policy may show."""
    slates = [slate_of(number, **limits) for number in range(2_000)]
    for name in SHADOWS:
        weights = [np.prod(slate.shadows()[name]) / np.prod(slate.propensities) for slate in slates]
        assert np.mean(weights) == pytest.approx(1, abs=4 * np.std(weights) / np.sqrt(len(weights)) + 1e-9)


def test_the_used_policy_as_a_shadow_has_its_own_propensities() -> None:
    for number in range(50):
        slate = slate_of(number)
        assert slate.shadows()["same"] == slate.propensities


def test_the_greedy_shadow_would_show_the_best_alone() -> None:
    either: list[dict[str, Any]] = [{}, {"caps": [CAP]}]
    for number, limits in itertools.product(range(50), either):
        slate = slate_of(number, **limits)
        best = make_slate(np.arange(ITEMS), K, **limits).rows
        shadow = slate.shadows()["greedy"]
        assert set(shadow) <= {0, 1}
        assert (np.prod(shadow) == 1) == (slate.rows == best)


def test_beyond_its_places_and_its_pool_a_shadow_is_greedy() -> None:
    for number in range(200):
        slate = slate_of(number)
        one = slate.shadows()["one"]
        first = slate.rows[0]
        assert one[0] == pytest.approx({0: 0.75, 1: 0.25}.get(first, 0))
        left = [row for row in range(ITEMS) if row not in slate.rows[:1]]
        assert one[1] == float(slate.rows[1] == left[0])
        assert one[3] == 1


def test_without_draws_there_are_no_shadows() -> None:
    sampler = Exploration(GREEDY, "i", SHADOWS).sampler(LOGITS)
    assert make_slate(np.arange(ITEMS), K, sampler=sampler).shadows() == {}


def test_the_settings_make_shadows() -> None:
    used = {"name": "plackett_luce", "pool": 20, "explored_places": 5}
    config = PolicyConfig.model_validate({**used, "shadows": {"cold": {**used, "temperature": 0.5}}})
    expected: dict[str, Policy] = {"greedy": GREEDY, "cold": PlackettLuce(5, 20, 0.05, 0.5)}
    assert make_shadows(config) == expected


@pytest.mark.parametrize(
    ("used", "shadow", "fault"),
    [
        ({}, {"name": "plackett_luce"}, "would show what policy.name = 'greedy' never shows"),
        ({"name": "epsilon_greedy", "epsilon": 0}, {"name": "epsilon_greedy"}, "never shows"),
        ({"name": "plackett_luce", "pool": 9}, {"name": "plackett_luce", "pool": 10}, "no larger pool"),
        ({"name": "plackett_luce"}, {"name": "epsilon_greedy", "explored_places": 11}, "no more explored"),
    ],
)
def test_a_shadow_that_nothing_could_be_said_about_is_refused(
    used: dict[str, Any], shadow: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValidationError, match=fault):
        PolicyConfig.model_validate({**used, "shadows": {"other": shadow}})


def test_the_greedy_shadow_has_its_name_alone() -> None:
    with pytest.raises(ValidationError, match="give yours another name"):
        PolicyConfig.model_validate({"shadows": {"greedy": {}}})
    PolicyConfig.model_validate({"shadows": {"best": {"name": "greedy"}}})
