"""Demand in the simulated shop that all users share: bestsellers, complements and partners."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import PRODUCTS, Catalogue, Floats, Integers
from pipeline.datasets.shop.words import THEMES

PARTNERS = 3
"""Number of items that sell together with an item, for no reason visible in its text."""


class Demand(NamedTuple):
    """Arrays over n items and p products.

    Attributes:
        appeal: weight of each item by itself (n), positive, with a long tail.
        complement: weight of a product after another one has been chosen (p, p).
        partners: for each item, the items that sell with it (n, PARTNERS).
    """

    appeal: Floats
    complement: Floats
    partners: Integers


def draw_demand(catalogue: Catalogue, rng: np.random.Generator) -> Demand:
    """Draw the demand for a catalogue, independently of the tastes."""
    return Demand(
        appeal=1 / (5.0 + rng.permutation(len(catalogue.items))) ** 0.8,
        complement=_draw_complements(rng),
        partners=_draw_partners(catalogue.theme, rng),
    )


def _draw_complements(rng: np.random.Generator) -> Floats:
    """Draw which products complement which, mostly within a theme: cups for the teapot."""
    count = len(PRODUCTS)
    home = np.repeat(np.arange(len(THEMES)), [len(theme.products) for theme in THEMES])
    is_complement = rng.random((count, count)) < np.where(home[:, None] == home, 0.3, 0.01)
    return np.where(is_complement, 5.0, 1.0)


def _draw_partners(theme: Integers, rng: np.random.Generator) -> Integers:
    """Draw partners within the theme; an item that is alone in its theme is its own partner."""
    partners = np.empty((len(theme), PARTNERS), dtype=np.int64)
    for each in np.unique(theme):
        members = np.flatnonzero(theme == each)
        partners[members] = rng.choice(members, (len(members), PARTNERS))
    return partners
