"""The catalogue of the simulated shop: items, their text and their true attributes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.shop.words import STYLES, THEMES
from pipeline.events import Item

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PRODUCTS = tuple(dict.fromkeys(product for theme in THEMES for product in theme.products))
_MODELS = [(t, m, p) for t, theme in enumerate(THEMES) for m in theme.materials for p in theme.products]
_LOOKS = [(s, colour) for s, style in enumerate(STYLES) for colour in style.colours]
LARGEST_CATALOGUE = len(_MODELS) * len(_LOOKS)
"""The number of different titles."""


@dataclass(frozen=True)
class Catalogue:
    """n items in order of arrival.

    Attributes:
        items: the upserts, except for their time.
        theme, style, product: index of each item's theme, style and product (n).
    """

    items: tuple[Item, ...]
    theme: Integers
    style: Integers
    product: Integers


def make_catalogue(size: int, rng: np.random.Generator, tells_style: bool = True) -> Catalogue:
    """Draw a catalogue of `size` items, at most LARGEST_CATALOGUE, no two with the same title.

    If the texts do not tell the style, titles recur; all else is the same.
    """
    variants = rng.choice(LARGEST_CATALOGUE, size, replace=False)
    models = [_MODELS[n] for n in variants // len(_LOOKS)]
    looks = [_LOOKS[n] for n in variants % len(_LOOKS)]
    numbers = 10_000 + rng.choice(90_000, size, replace=False)
    return Catalogue(
        items=tuple(map(_item if tells_style else _plain_item, numbers.tolist(), models, looks)),
        theme=np.array([theme for theme, _, _ in models]),
        style=np.array([style for style, _ in looks]),
        product=np.array([PRODUCTS.index(product) for _, _, product in models]),
    )


def retitled(item: Item) -> Item:
    """Return the item with a new title; its true attributes do not change."""
    return item.model_copy(update={"title": f"The new {item.category} collection: {item.title}"})


def _item(number: int, model: tuple[int, str, str], look: tuple[int, str]) -> Item:
    (theme, material, product), (style, colour) = model, look
    title = f"{STYLES[style].name} {colour} {material} {product}"
    description = (
        f"{product.capitalize()} in {colour} {material}, {STYLES[style].manner}. "
        f"Made for {THEMES[theme].occasion}."
    )
    return Item(item=str(number), title=title, description=description, category=THEMES[theme].category)


def _plain_item(number: int, model: tuple[int, str, str], _: tuple[int, str]) -> Item:
    theme, material, product = model
    description = f"{product.capitalize()} in {material}. Made for {THEMES[theme].occasion}."
    title = f"{material} {product}"
    return Item(item=str(number), title=title, description=description, category=THEMES[theme].category)
