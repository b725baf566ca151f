"""Tastes of the simulated shop's users, and their random walk from visit to visit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import Floats
from pipeline.datasets.shop.words import STYLES, THEMES

CATEGORY_SPREAD, THEME_SPREAD, STYLE_SPREAD = 1.2, 0.8, 1.2
"""Standard deviations of the tastes, in log-odds."""
CONSTANCY = 0.99
"""Autocorrelation of a taste from one visit to the next; its half-life is about seventy visits."""
FASHION = 0.5
"""Share of the variance of the tastes that comes from a fashion of all users, if there is one."""

_NAMES, _CATEGORY = np.unique([theme.category for theme in THEMES], return_inverse=True)
CATEGORIES: list[str] = _NAMES.tolist()


class Fashion(NamedTuple):
    """Tastes that all users share, in log-odds, and the weight `own` of each user's own tastes."""

    themes: Floats
    styles: Floats
    own: float


NO_FASHION = Fashion(np.zeros(len(THEMES)), np.zeros(len(STYLES)), own=1.0)


def draw_fashion(rng: np.random.Generator) -> Fashion:
    """Draw a fashion. The variance of the tastes stays the same, but they become more alike."""
    shared = np.sqrt(FASHION)
    return Fashion(shared * _draw_themes(rng), shared * _draw_styles(rng), own=float(np.sqrt(1 - FASHION)))


class Tastes:
    """Log-odds of each user for themes and styles; the ground truth, which no model sees.

    A taste is a stationary autoregressive process, so the variety of the shop does not decrease.
    """

    def __init__(self, users: int, fashion: Fashion, rng: np.random.Generator) -> None:
        self._fashion = fashion
        self._rng = rng
        self._themes = np.stack([_draw_themes(rng) for _ in range(users)])
        self._styles = np.stack([_draw_styles(rng) for _ in range(users)])

    def missions(self, user: int) -> Floats:
        """Return the probability of each theme to be the mission of the user's visit (themes)."""
        odds = np.exp(self._fashion.own * self._themes[user] + self._fashion.themes)
        return np.asarray(odds / odds.sum())

    def styles(self, user: int) -> Floats:
        """Return the weight of each style in the user's choices (styles)."""
        return np.asarray(np.exp(self._fashion.own * self._styles[user] + self._fashion.styles))

    def favourites(self) -> list[str]:
        """Return the category of which each user likes most now."""
        odds = np.exp(self._fashion.own * self._themes + self._fashion.themes)
        liked = np.stack(
            [odds[:, number == _CATEGORY].sum(axis=1) for number in range(len(CATEGORIES))], axis=1
        )
        return [CATEGORIES[number] for number in liked.argmax(axis=1).tolist()]

    def wander(self, user: int) -> None:
        """Advance the user's tastes by one visit."""
        novelty = np.sqrt(1 - CONSTANCY**2)
        self._themes[user] = CONSTANCY * self._themes[user] + novelty * _draw_themes(self._rng)
        self._styles[user] = CONSTANCY * self._styles[user] + novelty * _draw_styles(self._rng)


def _draw_themes(rng: np.random.Generator) -> Floats:
    by_category = rng.normal(0, CATEGORY_SPREAD, _CATEGORY.max() + 1)
    return np.asarray(by_category[_CATEGORY] + rng.normal(0, THEME_SPREAD, len(THEMES)))


def _draw_styles(rng: np.random.Generator) -> Floats:
    return rng.normal(0, STYLE_SPREAD, len(STYLES))
