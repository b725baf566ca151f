"""Calibration is logistic regression, and what it predicts of a decision never knew it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.calibration import RIDGE, WARM_UP, Calibrator

WEIGHTS, CONSTANT = np.array([0.8, -0.5]), -3.0


def simulated(seed: int, amount: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.normal(size=(amount, 2))
    return features, random.random(amount) < 1 / (1 + np.exp(-features @ WEIGHTS - CONSTANT))


def test_the_first_fit_is_that_of_scikit_learn() -> None:
    features, labels = simulated(0, WARM_UP)
    calibrator = Calibrator(2)
    for part in range(0, WARM_UP, 100):
        assert not calibrator.is_warm
        calibrator.learn(features[part : part + 100], labels[part : part + 100])
    # The prior of ours is on the constant, too: a feature like the others.
    inputs = np.column_stack([np.ones(WARM_UP), features])
    oracle = LogisticRegression(C=1 / RIDGE, fit_intercept=False, tol=1e-10).fit(inputs, labels)
    expected = oracle.predict_proba(inputs)[:, 1]
    assert calibrator.is_warm
    assert calibrator.predict(features) == pytest.approx(expected, abs=1e-6)


def test_learned_online_it_is_near_the_fit_of_all() -> None:
    features, labels = simulated(1, 20_000)
    calibrator = Calibrator(2)
    for part in range(0, 20_000, 50):
        calibrator.learn(features[part : part + 50], labels[part : part + 50])
    oracle = LogisticRegression(C=1e6).fit(features, labels).predict_proba(features)[:, 1]
    assert np.abs(calibrator.predict(features) - oracle).mean() < 0.002


@pytest.mark.parametrize(("half_life", "follows"), [(None, False), (500.0, True)])
def test_with_a_half_life_it_follows_a_change(half_life: float | None, follows: bool) -> None:
    features, labels = simulated(2, 10_000)
    calibrator, now = Calibrator(2, half_life), np.zeros((1, 2))
    for known in (labels, ~labels):
        for part in range(0, 10_000, 50):
            calibrator.learn(features[part : part + 50], known[part : part + 50])
    assert (calibrator.predict(now)[0] > 0.9) == follows
