"""What a shop knows of its items beside their texts, planted so that it tells the styles which these do not.

A brand has a style of its own, which four of five of its items have. An item that arrives later is an
accessory of two items of the opening that have its style; the texts of these alone tell theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.datasets.shop.catalogue import Catalogue, make_catalogue
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import ShopSettings
from pipeline.datasets.shop.words import STYLES
from pipeline.events import Item

BRAND, ACCESSORY_OF = "brand", "accessory_of"
BRANDS_OF_A_STYLE = 5
LOYAL = 0.8
"""Share of a brand's items that have its style."""
MAIN_ITEMS = 2
"""Items that an accessory belongs to."""
Known = Callable[[Item], Item]


def catalogue_of(shop: ShopSettings, tells_style: bool) -> Catalogue:
    """Return the catalogue of a shop, with texts that tell styles or not; items and styles are the same."""
    return make_catalogue(shop.items, generator(shop.seed, Purpose.CATALOGUE), tells_style)


def with_brands(shop: ShopSettings) -> Known:
    """Return what gives an item its brand."""
    catalogue, rng = catalogue_of(shop, tells_style=False), np.random.default_rng(shop.seed)
    size = len(catalogue.items)
    is_loyal = rng.random(size) < LOYAL
    style = np.where(is_loyal, catalogue.style, rng.integers(len(STYLES), size=size))
    brand = style * BRANDS_OF_A_STYLE + rng.integers(BRANDS_OF_A_STYLE, size=size)
    brands = {item.item: f"brand {number}" for item, number in zip(catalogue.items, brand, strict=True)}
    return lambda item: item.model_copy(update={"attributes": {BRAND: brands[item.item]}})


def with_accessories(shop: ShopSettings) -> Known:
    """Return what gives items of the opening texts that tell styles, and later ones their main items."""
    catalogue, rng = catalogue_of(shop, tells_style=True), np.random.default_rng(shop.seed)
    opening = shop.items - shop.arrivals
    of_style = [np.flatnonzero(catalogue.style[:opening] == style) for style in range(len(STYLES))]
    changes = dict[str, dict[str, object]]()
    for row, item in enumerate(catalogue.items):
        if row < opening:
            changes[item.item] = {"title": item.title, "description": item.description}
        else:
            main = rng.choice(of_style[catalogue.style[row]], MAIN_ITEMS, replace=False)
            ids = tuple(catalogue.items[row].item for row in main)
            changes[item.item] = {"attributes": {ACCESSORY_OF: ids}}
    return lambda item: item.model_copy(update=changes[item.item])
