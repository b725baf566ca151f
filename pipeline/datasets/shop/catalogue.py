"""The simulated shop's catalogue: items with text, and what truly makes them sell together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.shop.words import STYLES, THEMES
from pipeline.events import Item

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PARTNERS = 3
"""Items that an item sells with for no reason that its text tells."""

_MODELS = [(t, m, p) for t, theme in enumerate(THEMES) for m in theme.materials for p in theme.products]
_PRODUCTS = {product: n for n, product in enumerate(dict.fromkeys(p for _, _, p in _MODELS))}
_LOOKS = [(s, colour) for s, style in enumerate(STYLES) for colour in style.colours]
LARGEST_CATALOGUE = len(_MODELS) * len(_LOOKS)
"""As many items as there are different titles."""


@dataclass(frozen=True)
class Catalogue:
    """Items in order of arrival; arrays of n items, s styles, t themes and p products.

    Attributes:
        items: as they are upserted, but for their time.
        theme, style, product: what each item is (n), as indices.
        appeal: how well each item sells by itself (n), a positive weight with a long tail.
        complement: how much a product is sought after another has been chosen (p, p), a weight.
        partners: for each item, the items that sell with it (n, PARTNERS).
    """

    items: tuple[Item, ...]
    theme: Integers
    style: Integers
    product: Integers
    appeal: Floats
    complement: Floats
    partners: Integers


def make_catalogue(size: int, rng: np.random.Generator) -> Catalogue:
    """Draw a catalogue of `size` items, at most LARGEST_CATALOGUE, no two with the same title."""
    variants = rng.choice(LARGEST_CATALOGUE, size, replace=False)
    models = [_MODELS[n] for n in variants // len(_LOOKS)]
    looks = [_LOOKS[n] for n in variants % len(_LOOKS)]
    numbers = 10_000 + rng.choice(90_000, size, replace=False)
    theme = np.array([theme for theme, _, _ in models])
    return Catalogue(
        items=tuple(map(_item, numbers.tolist(), models, looks)),
        theme=theme,
        style=np.array([style for style, _ in looks]),
        product=np.array([_PRODUCTS[product] for _, _, product in models]),
        appeal=1 / (5.0 + rng.permutation(size)) ** 0.8,
        complement=_draw_complements(rng),
        partners=_draw_partners(theme, rng),
    )


def _item(number: int, model: tuple[int, str, str], look: tuple[int, str]) -> Item:
    (theme, material, product), (style, colour) = model, look
    title = f"{STYLES[style].name} {colour} {material} {product}"
    description = (
        f"{product.capitalize()} in {colour} {material}, {STYLES[style].manner}. "
        f"Made for {THEMES[theme].occasion}."
    )
    return Item(item=str(number), title=title, description=description, category=THEMES[theme].category)


def _draw_complements(rng: np.random.Generator) -> Floats:
    """Some products call for some others, most often of the same theme: cups for the teapot."""
    count = len(_PRODUCTS)
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
