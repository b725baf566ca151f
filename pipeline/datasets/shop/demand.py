"""What sells in the simulated shop, whoever buys: bestsellers, complements, items that sell in pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import PRODUCTS, Catalogue, Floats, Integers
from pipeline.datasets.shop.words import THEMES

PARTNERS = 3
"""Items that an item sells with for no reason that its text tells."""


class Demand(NamedTuple):
    """Arrays over n items and p products.

    Attributes:
        appeal: how well each item sells by itself (n), a positive weight with a long tail.
        complement: how much a product is sought after another has been chosen (p, p), a weight.
        partners: for each item, the items that sell with it (n, PARTNERS).
    """

    appeal: Floats
    complement: Floats
    partners: Integers


def draw_demand(catalogue: Catalogue, rng: np.random.Generator) -> Demand:
    """Draw what sells of a catalogue, independently of the tastes."""
    return Demand(
        appeal=1 / (5.0 + rng.permutation(len(catalogue.items))) ** 0.8,
        complement=_draw_complements(rng),
        partners=_draw_partners(catalogue.theme, rng),
    )


def _draw_complements(rng: np.random.Generator) -> Floats:
    """Some products call for some others, most often of the same theme: cups for the teapot."""
    count = len(PRODUCTS)
    home = np.repeat(np.arange(len(THEMES)), [len(theme.products) for theme in THEMES])
    called_for = rng.random((count, count)) < np.where(home[:, None] == home, 0.3, 0.01)
    return np.where(called_for, 5.0, 1.0)


def _draw_partners(theme: Integers, rng: np.random.Generator) -> Integers:
    """Partners lie within the theme; an item that is alone in its theme is its own partner."""
    partners = np.empty((len(theme), PARTNERS), dtype=np.int64)
    for each in np.unique(theme):
        members = np.flatnonzero(theme == each)
        partners[members] = rng.choice(members, (len(members), PARTNERS))
    return partners
