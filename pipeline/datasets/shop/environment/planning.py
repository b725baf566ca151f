"""The exact value of a session with slates of one item, by dynamic programming: the ceiling of policies."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import Floats, Integers
from pipeline.datasets.shop.environment.environment import ShopEnvironment
from pipeline.datasets.shop.environment.session import stay_probability
from pipeline.datasets.shop.environment.weariness import (
    MOST,
    RECOVERY,
    after_slate,
    freshness,
)
from pipeline.errors import DatasetError

LEVELS = round(MOST / RECOVERY) + 1
"""Values of weariness within a session; with slates of one item there are no others."""
MOST_STATES = 100_000
TOLERANCE = 1e-6


class SessionModel(NamedTuple):
    """The Markov decision process of one user's session; a state is how tired of each category the user is.

    Attributes:
        categories: indices into CATEGORIES of those that have items (c).
        rewards: expected reward of each item in each state (states, n).
        stays: probability that the user stays (states, n).
        following: state after the item was shown, if the user stays (states, n).
    """

    categories: Integers
    rewards: Floats
    stays: Floats
    following: Integers

    def state_of(self, weariness: Floats) -> int:
        """Return the state that is nearest to a weariness (CATEGORIES)."""
        return int(_state_of(weariness[self.categories]))

    @property
    def myopic(self) -> Integers:
        """The item with the largest expected reward now, in each state (states)."""
        return np.asarray(self.rewards.argmax(axis=1))

    def best(self) -> Integers:
        """Return the item that the best policy shows, in each state (states)."""
        return np.asarray(self._action_values(self.values()).argmax(axis=1))

    def values(self, policy: Integers | None = None) -> Floats:
        """Return the expected reward of the rest of the session in each state (states).

        Args:
            policy: item that is shown in each state; by default the best one.
        """
        values: Floats = np.zeros(len(self.rewards))
        while True:
            by_item = self._action_values(values)
            better = by_item.max(axis=1) if policy is None else by_item[np.arange(len(by_item)), policy]
            if np.abs(better - values).max() < TOLERANCE:
                return better
            values = better

    def _action_values(self, values: Floats) -> Floats:
        return self.rewards + self.stays * values[self.following]


def session_model(environment: ShopEnvironment, user: int) -> SessionModel:
    """Make the model of a user's sessions under the fashion of the opening.

    Raises:
        DatasetError: slates have several items, or the states are too many.
    """
    preferences, rewards = environment.preferences, environment.rewards
    categories, of_item = np.unique(preferences.categories, return_inverse=True)
    if environment.settings.slate != 1 or LEVELS**categories.size > MOST_STATES:
        raise DatasetError("exact values need slates of one item, of five categories at most")
    levels = range(LEVELS if environment.settings.tires else 1)
    weariness = RECOVERY * np.array(list(itertools.product(levels, repeat=categories.size)))
    clicks = preferences.clicks(drifted=False)[user] * freshness(weariness)[:, of_item]
    following = np.zeros(clicks.shape, dtype=np.int64)
    if environment.settings.tires:
        shown = np.eye(categories.size)
        following = np.stack([_state_of(after_slate(weariness, shown[one])) for one in of_item], axis=1)
    return SessionModel(
        categories,
        clicks * (rewards.click + rewards.purchase * preferences.purchases),
        stay_probability(clicks, weariness[:, of_item]),
        following,
    )


def _state_of(weariness: Floats) -> Integers:
    """Return the index of the nearest state (...) of weariness (..., c)."""
    steps = np.rint(weariness / RECOVERY).astype(np.int64)
    return np.asarray(steps @ LEVELS ** np.arange(weariness.shape[-1])[::-1])
