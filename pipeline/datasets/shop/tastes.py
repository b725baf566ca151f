"""What the simulated shop's users like, and how that wanders from visit to visit."""

from __future__ import annotations

import numpy as np

from pipeline.datasets.shop.catalogue import Floats
from pipeline.datasets.shop.words import STYLES, THEMES

CATEGORY_SPREAD, THEME_SPREAD, STYLE_SPREAD = 1.2, 0.8, 1.2
"""Standard deviations of the tastes, in log-odds."""
ACTIVITY_SPREAD = 0.8
"""Standard deviation of the log of how often a user comes."""
CONSTANCY = 0.99
"""How much of a taste lasts until the user's next visit: half of it for some seventy visits."""

_CATEGORY = np.unique([theme.category for theme in THEMES], return_inverse=True)[1]


class Tastes:
    """Log-odds of each user for themes and styles; what is true, and no model is told.

    A taste is a stationary autoregressive walk, so that the shop never runs dry of variety.
    A drift of the whole public would be another kind of step here.

    Attributes:
        activity: each user's share of the visits (users), long-tailed.
    """

    def __init__(self, users: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._themes = np.stack([self._draw_themes() for _ in range(users)])
        self._styles = np.stack([self._draw_styles() for _ in range(users)])
        activity = rng.lognormal(0, ACTIVITY_SPREAD, users)
        self.activity: Floats = activity / activity.sum()

    def missions(self, user: int) -> Floats:
        """With which probability the user's visit is for each theme (themes)."""
        odds = np.exp(self._themes[user])
        return np.asarray(odds / odds.sum())

    def styles(self, user: int) -> Floats:
        """How much the user's choice favours each style, as weights (styles)."""
        return np.asarray(np.exp(self._styles[user]))

    def wander(self, user: int) -> None:
        """Move the user's tastes by one visit."""
        novelty = np.sqrt(1 - CONSTANCY**2)
        self._themes[user] = CONSTANCY * self._themes[user] + novelty * self._draw_themes()
        self._styles[user] = CONSTANCY * self._styles[user] + novelty * self._draw_styles()

    def _draw_themes(self) -> Floats:
        by_category = self._rng.normal(0, CATEGORY_SPREAD, _CATEGORY.max() + 1)
        return np.asarray(by_category[_CATEGORY] + self._rng.normal(0, THEME_SPREAD, len(THEMES)))

    def _draw_styles(self) -> Floats:
        return self._rng.normal(0, STYLE_SPREAD, len(STYLES))
