"""What is planted beside texts tells styles, and the texts do not."""

from __future__ import annotations

from benchmarks.prior_knowledge import ACCESSORY_OF, BRAND, catalogue_of, with_accessories, with_brands
from pipeline.datasets.shop.settings import ShopSettings
from pipeline.datasets.shop.words import STYLES

SHOP = ShopSettings(items=600, arrivals=400)


def test_most_items_of_a_brand_have_its_style() -> None:
    catalogue, known = catalogue_of(SHOP, tells_style=False), with_brands(SHOP)
    of_brand: dict[object, list[int]] = {}
    for item, style in zip(catalogue.items, catalogue.style.tolist(), strict=True):
        of_brand.setdefault(known(item).attributes[BRAND], []).append(style)
    shares = [max(map(styles.count, styles)) / len(styles) for styles in of_brand.values()]
    assert 0.7 < sum(shares) / len(shares) < 0.95


def test_accessories_name_items_whose_texts_tell_their_style() -> None:
    catalogue, known = catalogue_of(SHOP, tells_style=False), with_accessories(SHOP)
    items = {item.item: known(item) for item in catalogue.items}
    styles = dict(zip(items, catalogue.style.tolist(), strict=True))
    later = [*items.values()][200:]
    assert not any(item.title.startswith(STYLES[styles[item.item]].name) for item in later)
    for item in later:
        main = item.attributes[ACCESSORY_OF]
        assert isinstance(main, tuple) and len({*main}) == 2
        for other in main:
            assert items[str(other)].title.startswith(STYLES[styles[item.item]].name)
