"""The shop as a gymnasium environment: an episode is a session, an action is a slate."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray

from pipeline.config import RewardsConfig
from pipeline.datasets.shop.catalogue import Floats, Integers, make_catalogue
from pipeline.datasets.shop.demand import draw_demand
from pipeline.datasets.shop.environment.actions import Slates
from pipeline.datasets.shop.environment.known import ITEM_FEATURES, STATE_FEATURES, Knowledge, Vectors
from pipeline.datasets.shop.environment.preferences import draw_preferences
from pipeline.datasets.shop.environment.session import stay_probability
from pipeline.datasets.shop.environment.settings import EnvironmentSettings
from pipeline.datasets.shop.environment.weariness import (
    CATEGORIES,
    after_hours,
    after_slate,
    freshness,
    shares,
)
from pipeline.datasets.shop.floor import MEAN_MS_BETWEEN_ACTS
from pipeline.datasets.shop.public import ACTIVITY_SPREAD
from pipeline.datasets.shop.randomness import Purpose, generator

HOUR_MS = 3_600_000
HOURS_BETWEEN_VISITS = 40
"""Mean time from one session of a user to the next, over users; of the shop's stream, too."""
Observation = dict[str, Vectors]
Info = dict[str, Any]


class ShopEnvironment(gymnasium.Env[Observation, Integers]):
    """A user arrives, slates are shown, some items are clicked and bought, until the user leaves.

    Clicks of the items of a slate are independent of each other and of the place. Users come in proportion
    to their activity; how tired they are, and what is known of them, stays from one session to the next.
    `reset(seed)` opens the shop again, with rested users; `reset()` begins the next session.

    An observation is what a recommender knows: `state` (s) and, for all items, `items` (n, p). `info` is for
    judges: `user`; `shown_at` in ms since the shop opened; `scores`, the recommender's own ones (n);
    `expected_rewards`, the true ones of all items for this user now (n); and after a step the `rewards` of
    the slate's items (k).

    Attributes:
        settings: what users, items and their preferences follow from.
        preferences: the ground truth.
        weariness: of each user, of each category (users, categories).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self, settings: EnvironmentSettings | None = None, rewards: RewardsConfig | None = None
    ) -> None:
        self.settings = settings or EnvironmentSettings()
        self.rewards = rewards or RewardsConfig()
        rng = generator(self.settings.seed, Purpose.CATALOGUE)
        catalogue = make_catalogue(self.settings.items, rng)
        self.preferences = draw_preferences(self.settings, catalogue, draw_demand(catalogue, rng))
        self._clicks = [self.preferences.clicks(drifted=drifted) for drifted in (False, True)]
        self._purchases = self.preferences.purchases
        self._worth_of_click = self.rewards.click + self.rewards.purchase * self._purchases
        self._known = Knowledge(self.settings, catalogue, self.preferences, self.rewards)
        activity = generator(self.settings.seed, Purpose.ORDER).lognormal(
            0, ACTIVITY_SPREAD, self.settings.users
        )
        self._bounds = np.cumsum(activity / activity.sum())
        self._is_open = False
        self.observation_space: gymnasium.Space[Any] = Dict(
            {
                "state": Box(-np.inf, np.inf, (STATE_FEATURES,)),
                "items": Box(-np.inf, np.inf, (self.settings.items, ITEM_FEATURES + self.settings.items)),
            }
        )
        self.action_space = Slates(self.settings.items, self.settings.slate)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Begin the next session; with a seed, and at first, open the shop for users who are rested."""
        if seed is not None or not self._is_open:
            super().reset(seed=self.settings.seed if seed is None else seed)
            self._open()
        between = HOURS_BETWEEN_VISITS * HOUR_MS / self.settings.users
        self._time += 1 + int(self.np_random.exponential(between))
        self._user = int(self._bounds.searchsorted(self.np_random.random() * self._bounds[-1], side="right"))
        hours = (self._time - self._seen_at[self._user]) / HOUR_MS
        self.weariness[self._user] = after_hours(self.weariness[self._user], hours)
        self._known.begin(self._user, hours)
        return self._observation(), self._info()

    def step(self, action: Integers) -> tuple[Observation, float, bool, bool, Info]:
        """Show a slate: return what is known next, its reward, whether the user left, False, and facts.

        Raises:
            ValueError: the action is not a slate.
            RuntimeError: no session has begun.
        """
        if not self._is_open:
            raise RuntimeError("no session has begun: call reset() first")
        slate = np.asarray(action)
        if not self.action_space.contains(slate):
            raise ValueError(f"{action} is not a slate of {self.settings.slate} different items")
        clicks = self.np_random.random(slate.size) < self.click_probabilities()[slate]
        bought = clicks & (self.np_random.random(slate.size) < self._purchases[slate])
        rewards = self.rewards.click * clicks + self.rewards.purchase * bought
        left = bool(self.np_random.random() >= self._stay_probability(slate, float(clicks.any())))
        self._show(slate, clicks)
        return self._observation(), float(rewards.sum()), left, False, self._info() | {"rewards": rewards}

    def click_probabilities(self) -> Floats:
        """Return the true probability that the user clicks each item if it is shown now (n)."""
        fresh = freshness(self.weariness[self._user])[self.preferences.categories]
        return np.asarray(self._clicks[self._is_drifted][self._user] * fresh)

    def expected_rewards(self) -> Floats:
        """Return the true expected reward of showing each item to the user now (n)."""
        return self.click_probabilities() * self._worth_of_click

    def expected_stay(self, slate: Integers) -> float:
        """Return the true probability that the user stays after a slate (k) that is shown now."""
        return self._stay_probability(slate, 1 - float(np.prod(1 - self.click_probabilities()[slate])))

    @property
    def _is_drifted(self) -> bool:
        return self.settings.drift_at is not None and self._slates >= self.settings.drift_at

    def _open(self) -> None:
        self._is_open, self._time, self._slates = True, 0, 0
        self.weariness = np.zeros((self.settings.users, len(CATEGORIES)))
        self._seen_at = np.zeros(self.settings.users)
        self._known.open()

    def _stay_probability(self, slate: Integers, served: float) -> float:
        tired = self.weariness[self._user, self.preferences.categories[slate]].mean()
        return float(stay_probability(np.asarray(served), np.asarray(tired)))

    def _show(self, slate: Integers, clicks: NDArray[np.bool_]) -> None:
        """Tire the user by a slate, and remember it."""
        if self.settings.tires:
            shown = shares(self.preferences.categories[slate])
            self.weariness[self._user] = after_slate(self.weariness[self._user], shown)
        self._known.add(slate, clicks)
        self._slates += 1
        self._time += 1 + int(self.np_random.exponential(MEAN_MS_BETWEEN_ACTS))
        self._seen_at[self._user] = self._time

    def _observation(self) -> Observation:
        return {"state": self._known.state(), "items": self._known.items()}

    def _info(self) -> Info:
        return {
            "user": self._user,
            "shown_at": self._time,
            "scores": self._known.scores(),
            "expected_rewards": self.expected_rewards(),
        }
