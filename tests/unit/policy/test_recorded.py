"""An impression says what its policy could have drawn, or it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import InvalidEvent
from pipeline.policy.policies import GREEDY, EpsilonGreedy, PlackettLuce, Thompson
from pipeline.policy.port import Policy
from pipeline.policy.recorded import check_propensities
from tests.support.impressions import impression

EPSILON = EpsilonGreedy(explored_places=1, pool=10, epsilon=0.1)
WITHOUT_FLOOR = PlackettLuce(explored_places=2, pool=10, epsilon=0.0, temperature=0.5)
BY_VALUE = Thompson(explored_places=2, pool=10, epsilon=0.1)


def check(policy: Policy, propensities: tuple[float, ...], pool: int) -> None:
    said: dict[str, Any] = {"policy": policy.name, "policy_version": policy.version}
    check_propensities(impression(propensities=propensities, pool=pool, **said))


@pytest.mark.parametrize(
    ("policy", "propensities", "pool"),
    [
        (EPSILON, (0.01, 1.0), 10),
        (EPSILON, (0.02, 1.0), 5),
        (EPSILON, (1.0, 1.0), 0),
        (BY_VALUE, (0.01, 0.0112), 10),
        (WITHOUT_FLOOR, (1e-9, 2.0**-53), 10),
        (GREEDY, (1.0, 1.0), 0),
    ],
)
def test_what_can_be_drawn_is_valid(policy: Policy, propensities: tuple[float, ...], pool: int) -> None:
    check(policy, propensities, pool)


@pytest.mark.parametrize(
    ("policy", "propensities", "pool"),
    [
        (EPSILON, (1e-9, 1.0), 10),
        (EPSILON, (0.0099, 1.0), 10),
        (EPSILON, (0.01, 1.0), 5),
        (EPSILON, (0.5, 1.0), 0),
        (EPSILON, (0.01, 1.0), 11),
        (EPSILON, (0.5, 0.5), 10),
        (BY_VALUE, (0.001, 1.0), 10),
        (WITHOUT_FLOOR, (1e-300, 1.0), 10),
        (GREEDY, (0.5, 1.0), 10),
    ],
)
def test_what_cannot_be_drawn_is_refused(policy: Policy, propensities: tuple[float, ...], pool: int) -> None:
    with pytest.raises(InvalidEvent):
        check(policy, propensities, pool)


def test_of_a_foreign_policy_only_what_no_draw_can_be_is_refused() -> None:
    check_propensities(impression())
    theirs: dict[str, Any] = {"policy": "theirs", "policy_version": "7", "pool": 9}
    check_propensities(impression(propensities=(1e-9, 0.5), **theirs))
    with pytest.raises(InvalidEvent):
        check_propensities(impression(propensities=(1e-300, 0.5), **theirs))
