"""A user stays in one arm of an experiment, and arms have their shares of the users."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config import PolicyConfig, PolicyParameters
from pipeline.policy.arms import CONTROL, GREEDY_ALONE, make_arms
from pipeline.policy.changes import PolicyChange
from pipeline.policy.policies import GREEDY, EpsilonGreedy, PlackettLuce
from pipeline.policy.port import Policy

ARMS: dict[str, Any] = {
    "bold": {"share": 0.2, "name": "plackett_luce", "pool": 20},
    "even": {"share": 0.3, "name": "epsilon_greedy", "epsilon": 1.0, "pool": 9},
}
USERS = [f"u{number}" for number in range(4_000)]


def config(experiment: str = "one", **changes: Any) -> PolicyConfig:
    return PolicyConfig.model_validate({"experiment": experiment, "arms": ARMS, **changes})


def test_arms_have_their_shares_and_their_policies() -> None:
    arms = make_arms(config())
    assert arms.shares == {CONTROL: 0.5, "bold": 0.2, "even": 0.3}
    counts = Counter(arms.of(user).name for user in USERS)
    for name, share in arms.shares.items():
        assert counts[name] / len(USERS) == pytest.approx(share, abs=0.03)
    policies = {arm.name: arm.policy for arm in map(arms.of, USERS)}
    bold, even = PlackettLuce(3, 20, 0.05, 0.5), EpsilonGreedy(3, 9, 1.0)
    expected: dict[str, Policy] = {CONTROL: GREEDY, "bold": bold, "even": even}
    assert policies == expected


def test_a_user_stays_and_is_drawn_again_for_another_experiment() -> None:
    one, again, other = (make_arms(config(name)) for name in ("one", "one", "two"))
    assert [one.of(user) for user in USERS] == [again.of(user) for user in USERS]
    same = sum(one.of(user).name == other.of(user).name for user in USERS)
    assert same / len(USERS) == pytest.approx(0.5**2 + 0.2**2 + 0.3**2, abs=0.03)


def test_experiments_whose_long_names_differ_in_their_ends_draw_apart() -> None:
    names = (f"実験：おすすめ商品の順位付けを変える試み、第{number}回" for number in "一二")
    one, other = (make_arms(config(name)) for name in names)
    same = sum(one.of(user).name == other.of(user).name for user in USERS)
    assert same / len(USERS) == pytest.approx(0.5**2 + 0.2**2 + 0.3**2, abs=0.03)


@pytest.mark.parametrize("shares", [(0.05, 0.9), (0.15, 0.8)])
def test_arms_may_leave_the_control_exactly_its_least_share(shares: tuple[float, float]) -> None:
    arms = {f"arm{number}": {"share": share} for number, share in enumerate(shares)}
    assert config(arms=arms).share_of_arms == 0.95


def test_without_arms_there_is_no_experiment() -> None:
    arms = make_arms(PolicyConfig(name="plackett_luce", experiment="unused"))
    assert arms.experiment is None
    assert arms.of("ann").policy == PlackettLuce(3, 100, 0.05, 0.5)
    assert GREEDY_ALONE.of("ann").policy is GREEDY


def test_an_arm_records_the_shadows_that_it_covers() -> None:
    shadows = {"wide": {"name": "plackett_luce", "pool": 30}, "few": {"name": "plackett_luce", "pool": 5}}
    arms = make_arms(config(name="plackett_luce", shadows=shadows))
    recorded = {arm.name: set(arm.shadows) for arm in map(arms.of, USERS)}
    assert recorded == {
        CONTROL: {"greedy", "wide", "few"},
        "bold": {"greedy", "few"},
        "even": {"greedy", "few"},
    }


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"experiment": ""}, "set policy.experiment"),
        ({"arms": {CONTROL: {"share": 0.1}}}, "give yours another name"),
        ({"arms": {"none": {"share": 0.1}}}, "taken for no experiment"),
        ({"arms": {"greedy": {"share": 0.1}}}, "arms.greedy and shadows.greedy have one name"),
        ({"shadows": {"bold": {}}}, "arms.bold and shadows.bold have one name"),
        ({"arms": {"a": {"share": 0.5}, "b": {"share": 0.46}}}, "at least .05 of the users"),
        ({"arms": {"a": {"share": 0}}}, "greater than 0"),
        ({"arms": {"a": {}}}, "required"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        config(**change)


def promotion(ends: str) -> PolicyChange:
    narrow = PolicyParameters(name="epsilon_greedy", pool=5, epsilon=0.5)
    return PolicyChange(
        verb="promotion", policy="narrow", parameters=narrow, ends=ends, reason="", changed_at=0
    )


def test_a_promoted_policy_takes_the_place_of_the_settings() -> None:
    shadows = {"wide": {"name": "plackett_luce", "pool": 30}, "few": {"name": "plackett_luce", "pool": 5}}
    settings = PolicyConfig.model_validate({"name": "plackett_luce", "shadows": shadows})
    arm = make_arms(settings, promotion("")).of("ann")
    assert arm.policy == EpsilonGreedy(3, 5, 0.5)
    assert set(arm.shadows) == {"greedy", "few"}, "what it never shows cannot be evaluated"


def test_a_promotion_ends_the_experiment_that_ran_and_no_later_one() -> None:
    over = make_arms(config("one"), promotion("one"))
    assert (over.experiment, over.shares) == (None, {CONTROL: 1.0})
    assert {over.of(user).policy for user in USERS[:50]} == {EpsilonGreedy(3, 5, 0.5)}
    later = make_arms(config("two"), promotion("one"))
    assert later.shares == make_arms(config("two")).shares
    assert {arm.policy for arm in map(later.of, USERS) if arm.name == CONTROL} == {EpsilonGreedy(3, 5, 0.5)}
