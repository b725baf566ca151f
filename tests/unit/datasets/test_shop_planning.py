"""The exact values of sessions are those of rollouts, and none is above the best policy's."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.datasets.shop.catalogue import Integers
from pipeline.datasets.shop.environment import EnvironmentSettings, ShopEnvironment
from pipeline.datasets.shop.environment.planning import SessionModel, session_model
from pipeline.errors import DatasetError

SETTINGS = EnvironmentSettings(seed=1, users=1, items=4, slate=1)
SESSIONS = 3_000


@pytest.fixture(scope="module")
def environment() -> ShopEnvironment:
    return ShopEnvironment(SETTINGS)


@pytest.fixture(scope="module")
def model(environment: ShopEnvironment) -> SessionModel:
    environment.reset()
    return session_model(environment, 0)


def rewards_of_sessions(environment: ShopEnvironment, model: SessionModel, policy: Integers) -> list[float]:
    """Reward of each of many sessions that begin rested."""
    environment.reset(seed=0)
    found = []
    for _ in range(SESSIONS):
        environment.reset()
        environment.weariness[:] = 0
        total, left = 0.0, False
        while not left:
            item = policy[model.state_of(environment.weariness[0])]
            _, reward, left, _, _ = environment.step(np.array([item]))
            total += reward
        found.append(total)
    return found


def test_values_are_those_of_rollouts(environment: ShopEnvironment, model: SessionModel) -> None:
    for policy in (model.best(), model.myopic):
        found = rewards_of_sessions(environment, model, policy)
        error = np.std(found) / SESSIONS**0.5
        assert abs(np.mean(found) - model.values(policy)[0]) < 4 * error


def test_no_policy_is_better_than_the_best(model: SessionModel) -> None:
    best = model.values()
    assert model.values(model.best()) == pytest.approx(best, abs=1e-4)
    random = np.random.default_rng(0)
    others = [random.integers(4, size=best.size) for _ in range(5)]
    assert all((model.values(policy) <= best + 1e-4).all() for policy in [model.myopic, *others])
    assert best[0] > 1.05 * model.values(model.myopic)[0]


def test_without_fatigue_a_session_is_a_geometric_series() -> None:
    environment = ShopEnvironment(EnvironmentSettings(1, 2, 4, 1, tires=False))
    model = session_model(environment, 1)
    expected = (model.rewards[0] / (1 - model.stays[0])).max()
    assert model.values() == pytest.approx([expected], abs=1e-4)


def test_large_shops_are_refused() -> None:
    for settings in (EnvironmentSettings(items=200, slate=1), EnvironmentSettings(items=4, slate=2)):
        with pytest.raises(DatasetError, match="exact values need"):
            session_model(ShopEnvironment(settings), 0)
