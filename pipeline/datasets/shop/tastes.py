"""What the simulated shop's users like, and how that wanders from visit to visit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import Floats
from pipeline.datasets.shop.words import STYLES, THEMES

CATEGORY_SPREAD, THEME_SPREAD, STYLE_SPREAD = 1.2, 0.8, 1.2
"""Standard deviations of the tastes, in log-odds."""
CONSTANCY = 0.99
"""How much of a taste lasts until the user's next visit: half of it for some seventy visits."""
FASHION = 0.5
"""How much of the variance of the tastes is a fashion that all users share, if there is one."""

_CATEGORY = np.unique([theme.category for theme in THEMES], return_inverse=True)[1]


class Fashion(NamedTuple):
    """What all users like, in log-odds, and how much their own tastes still count beside it."""

    themes: Floats
    styles: Floats
    own: float


NO_FASHION = Fashion(np.zeros(len(THEMES)), np.zeros(len(STYLES)), own=1.0)


def draw_fashion(rng: np.random.Generator) -> Fashion:
    """A fashion is a taste like any other, and makes tastes no stronger: only more alike."""
    shared = np.sqrt(FASHION)
    return Fashion(shared * _draw_themes(rng), shared * _draw_styles(rng), own=float(np.sqrt(1 - FASHION)))


class Tastes:
    """Log-odds of each user for themes and styles; what is true, and no model is told.

    A taste is a stationary autoregressive walk, so that the shop never runs dry of variety.
    """

    def __init__(self, users: int, fashion: Fashion, rng: np.random.Generator) -> None:
        self._fashion = fashion
        self._rng = rng
        self._themes = np.stack([_draw_themes(rng) for _ in range(users)])
        self._styles = np.stack([_draw_styles(rng) for _ in range(users)])

    def missions(self, user: int) -> Floats:
        """With which probability the user's visit is for each theme (themes)."""
        odds = np.exp(self._fashion.own * self._themes[user] + self._fashion.themes)
        return np.asarray(odds / odds.sum())

    def styles(self, user: int) -> Floats:
        """How much the user's choice favours each style, as weights (styles)."""
        return np.asarray(np.exp(self._fashion.own * self._styles[user] + self._fashion.styles))

    def wander(self, user: int) -> None:
        """Move the user's tastes by one visit."""
        novelty = np.sqrt(1 - CONSTANCY**2)
        self._themes[user] = CONSTANCY * self._themes[user] + novelty * _draw_themes(self._rng)
        self._styles[user] = CONSTANCY * self._styles[user] + novelty * _draw_styles(self._rng)


def _draw_themes(rng: np.random.Generator) -> Floats:
    by_category = rng.normal(0, CATEGORY_SPREAD, _CATEGORY.max() + 1)
    return np.asarray(by_category[_CATEGORY] + rng.normal(0, THEME_SPREAD, len(THEMES)))


def _draw_styles(rng: np.random.Generator) -> Floats:
    return rng.normal(0, STYLE_SPREAD, len(STYLES))
