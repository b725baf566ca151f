"""A model of rewards for logs: what a policy earns with an answer, given what is known before it is drawn.

Impressions do not say which other items the policy could have chosen, so what it would earn with each cannot
be averaged. What can be estimated is its reward from a place on, given place, pool and user: by regression on
rewards that are weighted by how probable the items there are under the policy. As such an expectation does
not depend on the item that is drawn, estimates with it stay unbiased, whatever the model is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.off_policy.estimators import Floats, LoggedSlates
from pipeline.events import event_digest
from pipeline.state.outcomes import Outcome

FEATURES = 7
FOLDS = 5
RIDGE = 10.0
"""Strength of the prior by which all weights are 0."""
PRIOR_ANSWERS = 5.0
"""Answers of the mean user that a user's own mean reward begins with."""
MOST_RATIO = 10.0
"""Largest ratio of propensities at a place that the regression uses: a few large ones would decide it."""
AT_ONCE = 256
"""Answers after which what is known of users, and the regression on earlier ones, are brought up to date."""


class RewardModel:
    """Predicts the rewards of a policy on logged answers, which are in the order in which they were shown."""

    def __init__(self, slates: LoggedSlates, outcomes: Sequence[Outcome], window: int) -> None:
        """Describe the answers by what was known before each.

        Args:
            slates: weighed for the policy.
            outcomes: of the same answers.
            window: ms that it takes until what came of an answer is known.
        """
        self._outcomes, self._window = outcomes, window
        self._is_place: NDArray[np.bool_] = np.zeros(slates.rewards.shape, dtype=np.bool_)
        for row, outcome in enumerate(outcomes):
            self._is_place[row, : len(outcome.rewards)] = True
        self._features = self._described()
        before = np.column_stack([np.ones(len(outcomes)), slates.weights[:, :-1]])
        self._counts = self._is_place & (before > 0)
        self._targets = _rewards_from(slates, before)

    def cross_fitted(self) -> Floats:
        """Predict the rewards from each place on ``[n, k]``, from the answers to other users."""
        folds = np.array([event_digest(one.impression.user) % FOLDS for one in self._outcomes])
        predicted = np.zeros(self._targets.shape)
        for fold in range(FOLDS):
            asked = folds == fold
            predicted[asked] = self._features[asked] @ _solved(*self._sums(~asked))
        return np.where(self._is_place, predicted, 0.0)

    def foreseen(self) -> Floats:
        """Predict the rewards of each answer ``[n]``, from the answers whose window had passed before it."""
        predicted, known = np.zeros(len(self._outcomes)), 0
        products, sums = np.zeros((FEATURES, FEATURES)), np.zeros(FEATURES)
        for block, closed in self._blocks():
            more = self._sums(slice(known, closed))
            products, sums, known = products + more[0], sums + more[1], closed
            predicted[block] = self._features[block, 0] @ _solved(products, sums)
        return predicted

    def _blocks(self) -> list[tuple[slice, int]]:
        """Blocks of answers, each with the number of those that were closed before its first one."""
        times = np.array([outcome.shown_at for outcome in self._outcomes])
        starts = range(0, times.size, AT_ONCE)
        closed = np.searchsorted(times, times[::AT_ONCE] - self._window)
        return [(slice(at, at + AT_ONCE), int(end)) for at, end in zip(starts, closed, strict=True)]

    def _described(self) -> Floats:
        """Features ``[n, k, f]`` of places: of the place, the pool, and the user's earlier answers."""
        made, rewards, counts = list[Floats](), defaultdict[str, float](float), defaultdict[str, int](int)
        length, total, known = self._is_place.shape[1], 0.0, 0
        for block, closed in self._blocks():
            for outcome in self._outcomes[known:closed]:
                rewards[outcome.impression.user] += sum(outcome.rewards)
                counts[outcome.impression.user] += 1
                total += sum(outcome.rewards)
            known, mean = closed, total / max(closed, 1)
            for outcome in self._outcomes[block]:
                user = outcome.impression.user
                own = (rewards[user] + PRIOR_ANSWERS * mean) / (counts[user] + PRIOR_ANSWERS)
                made.append(_places(outcome, length, own, counts[user]))
        return np.array(made)

    def _sums(self, rows: slice | NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Sums of products ``[f, f]`` and of features by target ``[f]``, over the places of some answers."""
        counts = self._counts[rows]
        features, targets = self._features[rows][counts], self._targets[rows][counts]
        return features.T @ features, features.T @ targets


def with_model(slates: LoggedSlates, expected: Floats) -> LoggedSlates:
    """Return slates with rewards ``[n, k]`` that are expected whatever is drawn."""
    return replace(slates, expected=expected, direct=expected)


def _places(outcome: Outcome, length: int, own: float, answers: int) -> Floats:
    """Features ``[k, f]`` of an answer's places; its user had an own mean reward in so many answers."""
    place, amount = np.arange(length), len(outcome.rewards)
    left = np.maximum(amount - place, 0)
    shared = np.array([1.0, np.log1p(outcome.impression.pool or 0), own, np.log1p(answers)])
    return np.column_stack([np.tile(shared, (length, 1)), np.log1p(place), left, own * left])


def _rewards_from(slates: LoggedSlates, before: Floats) -> Floats:
    """Rewards from each place on ``[n, k]``, weighted by ratios of the propensities from there on."""
    ratios = np.divide(slates.weights, before, out=np.zeros_like(before), where=before > 0)
    ratios = np.minimum(ratios, MOST_RATIO)
    found, rest = np.zeros_like(before), np.zeros(len(before))
    for place in reversed(range(before.shape[1])):
        rest = ratios[:, place] * (slates.rewards[:, place] + rest)
        found[:, place] = rest
    return found


def _solved(products: Floats, sums: Floats) -> Floats:
    return np.asarray(np.linalg.solve(products + RIDGE * np.eye(FEATURES), sums))
