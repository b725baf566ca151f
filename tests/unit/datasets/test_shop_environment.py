"""The shop as an environment: a gymnasium environment, reproducible, whose stated values are true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pipeline.config import RewardsConfig
from pipeline.datasets.shop.catalogue import Floats, Integers
from pipeline.datasets.shop.environment import EnvironmentSettings, ShopEnvironment
from pipeline.datasets.shop.environment.known import HISTORY
from pipeline.datasets.shop.environment.weariness import MOST, freshness
from pipeline.errors import DatasetError

SMALL = EnvironmentSettings(users=5, items=30, slate=3)
LONELY = EnvironmentSettings(seed=2, users=1, items=12, slate=3)
DRAWS = 6_000


def same_category(environment: ShopEnvironment, amount: int) -> Integers:
    """A slate of items of the category that has most of them."""
    categories = environment.preferences.categories
    found: Integers = np.flatnonzero(categories == np.bincount(categories).argmax())[:amount]
    return found


def transcript(
    environment: ShopEnvironment, seed: int, steps: int
) -> list[tuple[int, int, float, bool, float]]:
    """What happens when slates follow from the number of the step alone."""
    _, info = environment.reset(seed=seed)
    happened = []
    for step in range(steps):
        slate = (step + np.arange(environment.settings.slate)) % environment.settings.items
        observation, reward, left, _, after = environment.step(slate)
        told_apart = float(observation["items"].sum() + observation["state"].sum())
        happened.append((info["user"], after["shown_at"], reward, left, told_apart))
        info = environment.reset()[1] if left else after
    return happened


@pytest.mark.filterwarnings("ignore::UserWarning")  # features have no bounds, nothing is rendered
@pytest.mark.parametrize("tires", [True, False])
def test_gymnasium_finds_no_fault(tires: bool) -> None:
    check_env(ShopEnvironment(EnvironmentSettings(users=5, items=6, slate=3, tires=tires)))


def test_a_seed_repeats_everything_and_another_does_not() -> None:
    environment = ShopEnvironment(SMALL)
    first = transcript(environment, 7, 60)
    assert transcript(environment, 7, 60) == first == transcript(ShopEnvironment(SMALL), 7, 60)
    assert transcript(environment, 8, 60) != first
    assert transcript(ShopEnvironment(EnvironmentSettings(1, 5, 30, 3)), 7, 60) != first


def test_without_a_seed_the_shop_opens_by_that_of_its_settings() -> None:
    (one, _), (other, _) = ShopEnvironment(SMALL).reset(), ShopEnvironment(SMALL).reset(seed=SMALL.seed)
    assert all((one[name] == other[name]).all() for name in one)


def test_interest_in_a_category_tires_by_its_slates_and_recovers_by_others() -> None:
    environment = ShopEnvironment(LONELY)
    environment.reset()
    categories, slate = environment.preferences.categories, same_category(environment, 3)
    shown = categories == categories[slate[0]]
    rested = environment.expected_rewards()
    means = []
    for _ in range(4):
        environment.step(slate)
        means.append(environment.expected_rewards()[shown].mean())
        assert (environment.expected_rewards()[~shown] == rested[~shown]).all()
    assert rested[shown].mean() > means[0] > means[1] > means[2]
    others = np.flatnonzero(~shown)[:3]
    environment.step(others)
    assert means[-1] < environment.expected_rewards()[shown].mean() < rested[shown].mean()


def test_interest_recovers_between_sessions() -> None:
    environment = ShopEnvironment(LONELY)
    environment.reset()
    environment.weariness[:] = MOST
    tired = environment.expected_rewards()
    environment.reset()
    assert (environment.expected_rewards() > tired).all()


def test_interest_that_does_not_tire_stays() -> None:
    environment = ShopEnvironment(EnvironmentSettings(seed=2, users=1, items=12, slate=3, tires=False))
    environment.reset()
    rested = environment.expected_rewards()
    for _ in range(4):
        environment.step(same_category(environment, 3))
    assert (environment.expected_rewards() == rested).all()


def session_lengths(environment: ShopEnvironment, weariness: float) -> Floats:
    """Slates of each of many sessions of a user who is always so tired of everything."""
    lengths = []
    for _ in range(400):
        environment.reset()
        for length in range(1, 1_000):
            environment.weariness[:] = weariness
            if environment.step(np.arange(3))[2]:
                lengths.append(length)
                break
    return np.array(lengths)


def test_sessions_end_sooner_when_the_user_is_tired() -> None:
    environment = ShopEnvironment(LONELY)
    rested, tired = session_lengths(environment, 0.0), session_lengths(environment, MOST)
    assert len(rested) == len(tired) == 400
    assert 1 < tired.mean() < rested.mean() / 2


def test_a_user_who_is_not_served_leaves_sooner() -> None:
    environment = ShopEnvironment(LONELY)
    environment.reset()
    order = environment.expected_rewards().argsort()
    assert environment.expected_stay(order[-3:]) > environment.expected_stay(order[:3])


def test_stated_values_are_what_happens_on_average() -> None:
    environment = ShopEnvironment(LONELY)
    environment.reset()
    weariness = np.random.default_rng(0).random(environment.weariness.shape)
    environment.weariness[:] = weariness
    slate = environment.expected_rewards().argsort()[-3:]
    expected, stay = environment.expected_rewards()[slate], environment.expected_stay(slate)
    rewards, stayed = np.zeros((DRAWS, 3)), np.zeros(DRAWS)
    for draw in range(DRAWS):
        environment.weariness[:] = weariness
        _, reward, left, _, info = environment.step(slate)
        assert reward == info["rewards"].sum()
        rewards[draw], stayed[draw] = info["rewards"], not left
    errors = rewards.std(axis=0) / DRAWS**0.5
    assert (np.abs(rewards.mean(axis=0) - expected) < 4 * errors).all()
    assert abs(stayed.mean() - stay) < 4 * (stay * (1 - stay) / DRAWS) ** 0.5
    assert (expected > 10 * errors).all()  # so the comparison says something


def test_rewards_are_those_of_the_settings() -> None:
    free = ShopEnvironment(LONELY, RewardsConfig(click=0.0, purchase=1.0))
    paid = ShopEnvironment(LONELY, RewardsConfig(click=1.0, purchase=1.0))
    for environment in (free, paid):
        environment.reset()
    clicks = paid.expected_rewards() - free.expected_rewards()
    assert clicks == pytest.approx(paid.click_probabilities())


def test_an_abrupt_drift_changes_what_is_liked_and_not_what_is_known() -> None:
    environment = ShopEnvironment(EnvironmentSettings(2, 1, 12, 3, tires=False, drift_at=3))
    before, info = environment.reset()
    expected = info["expected_rewards"]
    for _ in range(2):
        _, _, _, _, info = environment.step(np.arange(3))
        assert (info["expected_rewards"] == expected).all()
    after, _, _, _, info = environment.step(np.arange(3))
    assert (info["expected_rewards"] != expected).all()
    assert (after["items"][:, :-HISTORY] == before["items"][:, :-HISTORY]).all()


def test_what_was_shown_and_clicked_is_known() -> None:
    environment = ShopEnvironment(LONELY)
    observation, _ = environment.reset()
    assert not observation["items"][:, -HISTORY:].any()
    slate = same_category(environment, 3)
    shown = environment.preferences.categories == environment.preferences.categories[slate[0]]
    observation, _, _, _, info = environment.step(slate)
    lately, shown_now, clicked = observation["items"][:, -HISTORY:].T
    assert (lately == shown).all()
    assert (shown_now == shown).all()
    assert (clicked == shown * (info["rewards"] > 0).sum()).all()
    after, _ = environment.reset()
    lately, shown_now, clicked = after["items"][:, -HISTORY:].T
    assert ((lately > 0) & (lately < 1))[shown].all()
    assert not shown_now.any()
    assert not clicked.any()


def test_the_recommender_knows_own_tastes_with_noise() -> None:
    environment = ShopEnvironment(EnvironmentSettings(users=20, items=200))
    observation, info = environment.reset()
    own = environment.preferences.own[info["user"]]
    assert 0.9 < np.corrcoef(observation["items"][:, 0], own)[0, 1] < 0.999


def test_an_action_that_is_no_slate_is_refused() -> None:
    environment = ShopEnvironment(SMALL)
    environment.reset()
    for action in ([0, 0, 1], [0, 1], [0, 1, 30], [-1, 0, 1]):
        with pytest.raises(ValueError, match="not a slate of 3 different items"):
            environment.step(np.array(action))
    samples = [environment.action_space.sample() for _ in range(200)]
    assert all(environment.action_space.contains(sample) for sample in samples)
    assert {item for sample in samples for item in sample.tolist()} == set(range(30))
    with pytest.raises(ValueError, match="without a mask"):
        environment.action_space.sample(mask=(np.ones(30, dtype=np.int8),))


@pytest.mark.parametrize("wrong", [{"users": 0}, {"items": 2}, {"slate": 0}, {"seed": -1}, {"drift_at": -1}])
def test_settings_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    name = "slate" if "items" in wrong else next(iter(wrong))
    with pytest.raises(DatasetError, match=name):
        replace(EnvironmentSettings(), **wrong)


def test_freshness_falls_from_one() -> None:
    assert (
        freshness(np.array([0.0, 1.0, MOST])).tolist() == sorted(freshness(np.array([0.0, 1.0, MOST])))[::-1]
    )
    assert freshness(np.zeros(1)) == 1


def test_a_step_before_the_first_session_is_refused() -> None:
    with pytest.raises(RuntimeError, match="call reset"):
        ShopEnvironment(EnvironmentSettings(items=20)).step(np.arange(EnvironmentSettings().slate))
