"""Calibration: probabilities of binary decisions from scores, learned from earlier decisions alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
WARM_UP = 1_000
"""Decisions that are only learned, at the beginning: what fewer predict says nothing of the scores."""
RIDGE = 1.0
"""Precision of the normal prior of each weight: that of some ten decisions."""
MOST_STEPS = 25
"""Newton steps of the first fit; it converges in fewer than ten."""


class Calibrator:
    """Logistic regression on few features (Platt 1999), learned online.

    The first decisions are fitted together. Each later call is one Newton step on what came with it, with
    the curvature of all decisions so far, which is recursive least squares for logits.
    """

    def __init__(self, features: int, half_life: float | None = None) -> None:
        """Begin without weights for so many features, besides a constant one.

        After `half_life` decisions one counts half; without it all count alike.
        """
        self._half_life = half_life
        self._first: list[tuple[Floats, Labels]] = []
        self._waiting = WARM_UP
        self._weights = np.zeros(features + 1)
        self._curvature = RIDGE * np.eye(features + 1)

    @property
    def is_warm(self) -> bool:
        """Whether enough has been learned to predict."""
        return self._waiting <= 0

    def predict(self, features: Floats) -> Floats:
        """Return the probabilities ``[m]`` of decisions with features ``[m, f]``."""
        return _sigmoid(_with_constant(features) @ self._weights)

    def learn(self, features: Floats, labels: Labels) -> None:
        """Learn decisions with features ``[m, f]``, and whether each was yes ``[m]``."""
        if self.is_warm:
            self._step(_with_constant(features), labels)
            return
        self._first.append((_with_constant(features), labels))
        self._waiting -= labels.size
        if self.is_warm:
            inputs, known = (np.concatenate(column) for column in zip(*self._first, strict=True))
            self._weights, self._curvature = _fitted(inputs, known)
            self._first = []

    def _step(self, inputs: Floats, labels: Labels) -> None:
        expected = _sigmoid(inputs @ self._weights)
        kept = 0.5 ** (labels.size / self._half_life) if self._half_life else 1.0
        self._curvature = kept * self._curvature + _curvature(inputs, expected)
        self._weights = self._weights + np.linalg.solve(self._curvature, inputs.T @ (labels - expected))


def _fitted(inputs: Floats, labels: Labels) -> tuple[Floats, Floats]:
    """Fit weights ``[f]`` by Newton's method; return them with the curvature ``[f, f]`` at the optimum."""
    weights, prior = np.zeros(inputs.shape[1]), RIDGE * np.eye(inputs.shape[1])
    for _ in range(MOST_STEPS):
        expected = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (labels - expected) - RIDGE * weights
        weights = weights + np.linalg.solve(prior + _curvature(inputs, expected), gradient)
    return weights, prior + _curvature(inputs, _sigmoid(inputs @ weights))


def _curvature(inputs: Floats, expected: Floats) -> Floats:
    return np.asarray((inputs.T * (expected * (1 - expected))) @ inputs)


def _with_constant(features: Floats) -> Floats:
    return np.column_stack([np.ones(len(features)), features])


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
