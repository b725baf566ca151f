"""What a recommender knows: noisy vectors of users, items, and what was shown and clicked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.config import RewardsConfig
from pipeline.datasets.shop.catalogue import Catalogue, Floats, Integers
from pipeline.datasets.shop.environment.preferences import Preferences, click_probability, sigmoid
from pipeline.datasets.shop.environment.settings import EnvironmentSettings
from pipeline.datasets.shop.environment.weariness import CATEGORIES, shares
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.words import STYLES, THEMES

Vectors = NDArray[np.float32]
NOISE = 0.3
"""Standard deviation of the noise in each log-odds of a user for themes and styles."""
HALF_LIFE, HALF_LIFE_HOURS = 4.0, 12.0
"""In slates and in hours, of the count of what was shown lately."""
HISTORY = 3
"""Number of features of an item that follow from what was shown."""
STATE_FEATURES = 3 * len(CATEGORIES) + 4
ITEM_FEATURES = 4 + len(THEMES) + len(STYLES) + HISTORY
"""Without its identity, which is one feature for each item of the shop."""


class Knowledge:
    """The features of users and items, and the memory of what was shown and clicked.

    The fashion is not in it: it has to be learned from what comes of showing. So is how interest tires.
    """

    def __init__(
        self,
        settings: EnvironmentSettings,
        catalogue: Catalogue,
        preferences: Preferences,
        rewards: RewardsConfig,
    ) -> None:
        self._categories = preferences.categories
        self._matches = preferences.own + _noise(settings, catalogue)
        click = click_probability(self._matches + preferences.popularity)
        self._estimates = click * (rewards.click + rewards.purchase * sigmoid(preferences.conversion))
        self._by_category = _means(self._matches, self._categories)
        attributes = np.eye(len(THEMES))[catalogue.theme], np.eye(len(STYLES))[catalogue.style]
        identity = np.eye(settings.items)
        columns = preferences.popularity[:, None], preferences.conversion[:, None], *attributes, identity
        self._fixed = np.concatenate(columns, axis=1)
        self.open()

    def open(self) -> None:
        """Forget all that was shown."""
        self._lately = np.zeros((len(self._matches), len(CATEGORIES)))
        self.begin(0, 0.0)

    def begin(self, user: int, hours: float) -> None:
        """Begin a session of a user who was away for hours."""
        self._user, self._hours = user, hours
        self._lately[user] *= 0.5 ** (hours / HALF_LIFE_HOURS)
        self._shown, self._clicked = np.zeros((2, len(CATEGORIES)))
        self._slates, self._last_clicks = 0, 0.0
        own = self._matches[user][:, None], self._estimates[user][:, None]
        blank = np.zeros((len(self._fixed), HISTORY))
        self._items = np.concatenate([*own, self._fixed, blank], axis=1, dtype=np.float32)

    def add(self, items: Integers, clicks: NDArray[np.bool_]) -> None:
        """Remember a slate (k) and which of its items were clicked."""
        shown = shares(self._categories[items])
        self._lately[self._user] = 0.5 ** (1 / HALF_LIFE) * self._lately[self._user] + shown
        self._shown += shown
        self._clicked += np.bincount(self._categories[items], clicks, len(CATEGORIES))
        self._slates, self._last_clicks = self._slates + 1, float(clicks.sum())

    def state(self) -> Vectors:
        """Return the features of the user and the session (STATE_FEATURES)."""
        facts = np.log1p([self._slates, self._clicked.sum(), self._last_clicks, self._hours])
        parts = [self._by_category[self._user], self._lately[self._user], self._clicked, facts]
        return np.concatenate(parts).astype(np.float32)

    def items(self) -> Vectors:
        """Return the features of all items, given the user and the session (n, ITEM_FEATURES + n)."""
        history = np.stack([self._lately[self._user], self._shown, self._clicked], axis=1)
        self._items[:, -HISTORY:] = history[self._categories]
        return self._items.copy()

    def scores(self) -> Floats:
        """Return the probability that each item is the next to be clicked, by the user's vector alone (n)."""
        weights = self._items[:, 0].astype(np.float64) + self._items[:, 2]
        shares = np.exp(weights - weights.max())
        return np.asarray(shares / shares.sum())


def _noise(settings: EnvironmentSettings, catalogue: Catalogue) -> Floats:
    """Draw what the vectors of users have wrong, for each item (users, n)."""
    rng = generator(settings.seed, Purpose.NOISE)
    themes = rng.normal(0, NOISE, (settings.users, len(THEMES)))
    styles = rng.normal(0, NOISE, (settings.users, len(STYLES)))
    return np.asarray(themes[:, catalogue.theme] + styles[:, catalogue.style])


def _means(matches: Floats, categories: Integers) -> Floats:
    """Return each user's mean over the items of each category, 0 without any (users, categories)."""
    members = np.eye(len(CATEGORIES))[categories]
    return np.asarray(matches @ members / np.maximum(members.sum(axis=0), 1))
