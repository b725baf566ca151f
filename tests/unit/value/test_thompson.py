"""Thompson sampling: the posterior is that of Bayesian linear regression, and what is old is forgotten."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge

from pipeline.config import ThompsonConfig
from pipeline.value.port import Arrays, Decision, Floats
from pipeline.value.thompson import ThompsonLearner, ThompsonModel
from tests.support.decisions import changed, decision, equal, random_decisions

NONE = np.random.default_rng(0)
"""Thompson sampling draws nothing while it learns."""
FOREVER = ThompsonConfig(half_life=1_000_000_000, ridge=1.0, exploration=1.0)
WEIGHTS = np.array([1.0, -2.0, 0.5])


def linear(count: int, weights: Floats = WEIGHTS, noise: float = 0.3, seed: int = 0) -> list[Decision]:
    random = np.random.default_rng(seed)
    decisions = []
    for _ in range(count):
        items = 3 + 2 * random.normal(size=(4, 3))
        decisions.append(decision(items, 5 + items @ weights + noise * random.normal(size=4)))
    return decisions


def learned(decisions: list[Decision], config: ThompsonConfig = FOREVER) -> ThompsonLearner:
    learner = ThompsonLearner(config, 3)
    learner.learn(decisions, NONE)
    return learner


def model_of(learner: ThompsonLearner) -> ThompsonModel:
    return ThompsonModel.of(learner.model(), 3)


def mean(learner: ThompsonLearner, items: Floats) -> Floats:
    model = model_of(learner)
    nothing = np.zeros((1, model.normals[1]))
    values: Floats = model.values(np.zeros(1, np.float32), items.astype(np.float32), nothing)[0]
    return values


def samples(learner: ThompsonLearner, items: Floats, draws: int = 20_000) -> Floats:
    model = model_of(learner)
    normals = np.random.default_rng(1).normal(size=(draws, model.normals[1]))
    return model.values(np.zeros(1, np.float32), items.astype(np.float32), normals)


def data(decisions: list[Decision]) -> tuple[Floats, Floats]:
    items = np.concatenate([one.items for one in decisions]).astype(np.float64)
    return items, np.concatenate([one.rewards for one in decisions])


def test_mean_and_spread_are_those_of_the_closed_form() -> None:
    decisions, config = linear(30), ThompsonConfig(half_life=50, ridge=3.0, exploration=0.7)
    learner = learned(decisions, config)
    items, rewards = data(decisions)
    weights = np.repeat(0.5 ** (np.arange(len(decisions) - 1, -1, -1) / 50), 4)
    centre = weights @ items / (weights.sum() + 1)
    spread = np.sqrt((weights @ items**2 + 1) / (weights.sum() + 1) - centre**2)
    design = np.column_stack((np.ones(len(items)), (items - centre) / spread))
    precision = design.T @ (design * weights[:, None]) + 3.0 * np.eye(4)
    expected = np.linalg.solve(precision, design.T @ (weights * rewards))
    unexplained = weights @ rewards**2 - expected @ precision @ expected
    variance = (unexplained + 1) / (weights.sum() + 1)

    asked = np.array([[1.0, 2.0, 3.0], [9.0, 0.0, 4.0]])
    rows = np.column_stack((np.ones(2), (asked - centre) / spread))
    covariance = 0.7**2 * variance * rows @ np.linalg.inv(precision) @ rows.T
    assert mean(learner, asked) == pytest.approx(rows @ expected, rel=1e-4)
    assert np.cov(samples(learner, asked).T) == pytest.approx(covariance, rel=0.05)


def test_it_agrees_with_scikit_learn() -> None:
    decisions = linear(2_000)
    items, rewards = data(decisions)
    oracle = BayesianRidge(tol=1e-8).fit(items, rewards)
    asked = np.array([[1.0, 2.0, 3.0], [9.0, 0.0, 4.0], [3.0, 3.0, 3.0]])
    expected, deviation = oracle.predict(asked, return_std=True)
    noise = 1 / oracle.alpha_  # it takes the constant as known
    found = samples(learned(decisions), asked)
    assert found.mean(axis=0) == pytest.approx(expected, abs=0.01)
    assert found.var(axis=0) == pytest.approx(deviation**2 - noise + noise / len(items), rel=0.1)


def test_batches_do_not_matter() -> None:
    decisions = linear(40)
    whole, parts = learned(decisions, ThompsonConfig(half_life=10)), learned([], ThompsonConfig(half_life=10))
    for start in range(0, 40, 7):
        parts.learn(decisions[start : start + 7], NONE)
    assert parts.state()["moments"] == pytest.approx(whole.state()["moments"])


def test_a_change_is_followed_after_some_half_lives() -> None:
    config = ThompsonConfig(half_life=100)
    learner = learned(linear(1_000), config)
    learner.learn(linear(700, -WEIGHTS, seed=1), NONE)
    asked = np.array([[4.0, 3.0, 2.0]])
    assert mean(learner, asked) == pytest.approx(5 - asked @ WEIGHTS, abs=0.5)
    forgetting_nothing = learned(linear(1_000))
    forgetting_nothing.learn(linear(700, -WEIGHTS, seed=1), NONE)
    assert abs(mean(forgetting_nothing, asked) - (5 - asked @ WEIGHTS)) > 1


def taught(rewards: float, kept: float = 0.0) -> ThompsonLearner:
    """A learner of 3,000 decisions whose rewards have no more to do with the items, and then of 200."""
    config = ThompsonConfig(half_life=1_000_000, kept_in_decline=kept)
    learner = learned(linear(3_000), config)
    for start in (0, 100):
        learner.learn([one(rewards, seed) for seed in range(start, start + 100)], NONE)
    return learner


def one(reward: float, seed: int) -> Decision:
    random = np.random.default_rng(seed)
    return decision(3 + 2 * random.normal(size=(4, 3)), reward + 0.3 * random.normal(size=4))


def test_when_rewards_fall_what_is_unsure_is_tried_again() -> None:
    item = np.array([[3.0, 3.0, 9.0]])
    fallen, stubborn, risen = taught(-20.0), taught(-20.0, kept=1.0), taught(20.0)
    spreads = [float(samples(learner, item).std()) for learner in (fallen, stubborn, risen)]
    assert spreads[0] > 2.5 * max(spreads[1:])
    assert mean(fallen, item)[0] < mean(stubborn, item)[0] - 10, "and what came of the decline is learned"
    assert fallen.state()["since"][0] == 100, "the first of the two batches was the decline"


def test_what_came_since_rewards_fell_is_kept_and_nothing_before() -> None:
    """They fall within a batch, 30 decisions before its end, and are clear in the next one."""
    learner = learned(linear(3_000), ThompsonConfig(half_life=1_000_000))
    fallen = [one(-20.0, seed) for seed in range(30)]
    learner.learn([*linear(70, seed=1), *fallen[:10]], NONE)
    assert learner.state()["lately"][0, 0] == pytest.approx(4 * 10, abs=0.01)
    learner.learn(fallen[10:], NONE)
    items, rewards = data(fallen)
    rows = np.column_stack((np.ones(len(items)), items, rewards))
    assert learner.state()["moments"] == pytest.approx(rows.T @ rows, rel=1e-3)


def test_a_decline_is_found_after_a_restart_too() -> None:
    learner, restored = (learned(linear(3_000), ThompsonConfig()) for _ in range(2))
    falling = [one(-0.1, seed) for seed in range(150)]
    for number, batch in enumerate((falling[:60], falling[60:])):
        learner.learn(batch, NONE)
        if not number:
            restored.load(learner.state())
    restored.learn(falling[60:], NONE)
    assert equal(restored.state(), learner.state())


def test_a_state_from_before_declines_is_restored() -> None:
    learner, restored = learned(linear(30)), learned(linear(5))
    restored.load({"moments": learner.state()["moments"]})
    assert restored.state()["moments"] == pytest.approx(learner.state()["moments"])
    assert restored.state()["since"][0] == 0
    assert not restored.state()["lately"].any()


def test_what_gets_no_data_returns_to_the_prior() -> None:
    config = ThompsonConfig(half_life=20, ridge=2.0)
    learner = learned(linear(200), config)
    sure = samples(learner, np.array([[3.0, 3.0, 5.0]])).std()
    learner.learn([decision(np.zeros((1, 3)), np.zeros(1)) for _ in range(2_000)], NONE)
    posterior = model_of(learner).posterior
    assert posterior.weights == pytest.approx(np.zeros(4), abs=1e-3)
    assert posterior.factor[1:, 1:] == pytest.approx(np.sqrt(2.0) * np.eye(3), abs=1e-3)
    assert samples(learner, np.array([[3.0, 3.0, 5.0]])).std() > 0.5 * sure


def test_nothing_learned_is_the_prior() -> None:
    found = samples(learned([]), np.array([[1.0, 0.0, 0.0]]))
    assert found.mean() == pytest.approx(0.0, abs=0.05)
    assert found.var() == pytest.approx(2.0, rel=0.05)


def test_a_feature_that_never_changes_and_a_far_one_leave_it_stable() -> None:
    random = np.random.default_rng(3)
    learner = learned([])
    for _ in range(50):
        items = np.column_stack((random.normal(size=10), np.full(10, 1e3), 1e5 + random.normal(size=10)))
        learner.learn([decision(items, items[:, 0])], NONE)
    asked = np.array([[-1.0, 1e3, 1e5], [1.0, 1e3, 1e5]])
    assert np.diff(mean(learner, asked)) == pytest.approx(2.0, abs=0.1)


def test_one_row_that_is_far_away_does_not_rule() -> None:
    learner = learned(linear(200))
    learner.learn([decision(np.array([[1e6, 3.0, 3.0]]), np.array([0.0]))], NONE)
    asked = np.array([[4.0, 3.0, 2.0]])
    assert mean(learner, asked) == pytest.approx(5 + asked @ WEIGHTS, abs=0.5)


def test_it_goes_on_from_its_state_to_the_bit() -> None:
    random = np.random.default_rng(5)
    decisions = random_decisions(60, random, features=3)
    unbroken, killed = learned(decisions[:40]), learned(decisions[:40])
    restored = learned([])
    restored.load(killed.state())
    for learner in (unbroken, restored):
        learner.learn(decisions[40:], NONE)
    assert equal(restored.state(), unbroken.state())
    assert equal(restored.model(), unbroken.model())


def test_state_and_model_are_copies() -> None:
    learner = learned(linear(5))
    before = {name: array.copy() for name, array in learner.state().items()}
    learner.state()["moments"][:] = 0
    assert equal(learner.state(), before)


BAD_STATES = {
    "missing": {"moments": None},
    "too many": {"extra": np.zeros(1)},
    "shape": {"moments": np.zeros((4, 4))},
    "type": {"moments": np.zeros((5, 5), np.float32)},
    "not finite": {"moments": np.full((5, 5), np.nan)},
    "asymmetric": {"moments": np.triu(np.ones((5, 5)))},
    "negative": {"moments": -np.eye(5)},
    "negative since the fall": {"lately": -np.eye(5)},
}


@pytest.mark.parametrize("changes", BAD_STATES.values(), ids=BAD_STATES.keys())
def test_a_state_that_is_none_is_refused(changes: dict[str, np.ndarray | None]) -> None:
    learner = learned(linear(5))
    with pytest.raises(ValueError, match=r"moments|lately|extra"):
        learner.load(changed(learner.state(), **changes))


BAD_MODELS: dict[str, Arrays] = {
    "centre": {"centre": np.zeros(2, np.float32)},
    "spread": {"spread": np.zeros(3, np.float32)},
    "weights": {"weights": np.full(4, np.inf, np.float32)},
    "factor": {"factor": -np.eye(4, dtype=np.float32)},
    "deviation": {"deviation": np.array([-1.0], np.float32)},
    "draws": {"draws": np.array([1e5], np.float32)},
    "out of range": {"weights": np.full(4, 1e9, np.float32)},
}


@pytest.mark.parametrize("changes", BAD_MODELS.values(), ids=BAD_MODELS.keys())
def test_a_model_that_is_none_is_refused(changes: Arrays) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        ThompsonModel.of(changed(learned(linear(5)).model(), **changes), 3)
