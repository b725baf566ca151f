"""How interest in a category tires and recovers."""

from __future__ import annotations

import numpy as np

from pipeline.datasets.shop.catalogue import Floats, Integers
from pipeline.datasets.shop.words import THEMES

CATEGORIES = sorted({theme.category for theme in THEMES})
CATEGORY_OF = np.array([CATEGORIES.index(theme.category) for theme in THEMES])
"""Index into CATEGORIES of each theme's."""
MOST = 2.0
"""Weariness at most. It rises by a category's share of each slate."""
RECOVERY = 0.25
"""By how much weariness falls with each slate of a session."""
RECOVERY_AN_HOUR = 0.1
"""By how much it falls in each hour between sessions."""
FATIGUE = 0.7
"""Interest falls by exp(-FATIGUE * weariness)."""


def shares(categories: Integers) -> Floats:
    """Return the share of each category in a slate whose items have these categories (CATEGORIES)."""
    return np.bincount(categories, minlength=len(CATEGORIES)) / categories.size


def after_slate(weariness: Floats, shares: Floats) -> Floats:
    """Return the weariness (..., categories) after a slate with these shares of the categories."""
    return np.minimum(np.maximum(weariness - RECOVERY, 0) + shares, MOST)


def after_hours(weariness: Floats, hours: float) -> Floats:
    """Return the weariness after hours without a slate."""
    return np.maximum(weariness - RECOVERY_AN_HOUR * hours, 0)


def freshness(weariness: Floats) -> Floats:
    """Return what is left of the interest, from 1 down to exp(-FATIGUE * MOST)."""
    return np.asarray(np.exp(-FATIGUE * weariness))
