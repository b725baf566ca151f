"""Items survive being stored, whatever they hold, and take little memory."""

from __future__ import annotations

import sys

import pytest

from pipeline.events import Item
from pipeline.state.stored_items import StoredItems, read_item, stored_item

FULL = Item(
    item="a",
    title="red cup",
    description="of clay",
    category="cups",
    available=False,
    time=1,
    attributes={"price": 2.0, "stock": 2, "new": True, "tags": ("x", "y")},
    published=2,
    expires=3,
    media={"photo": "https://example.org/a.png"},
    vectors={"clip": (0.1, 1e-30, 3.0)},
)


@pytest.mark.parametrize("item", [FULL, Item(item="ä", title=""), Item(item="b", title='\u2028 "quoted"')])
def test_an_item_is_read_as_it_was_stored(item: Item) -> None:
    read = read_item(stored_item(item))
    assert read == item
    assert repr(read.attributes) == repr(item.attributes)
    assert stored_item(read) == stored_item(item)


def test_an_item_takes_the_bytes_of_what_it_says() -> None:
    stored = stored_item(Item(item="a", title="red cup"))
    assert stored == b'{"item":"a","title":"red cup"}'
    assert sys.getsizeof(stored) < 100


def test_a_view_follows_what_is_stored() -> None:
    stored: list[bytes | None] = [None, stored_item(FULL)]
    items = StoredItems(stored)
    assert (len(items), [*items], items[1], [*items[1:]]) == (2, [None, FULL], FULL, [FULL])
    stored.append(None)
    assert [*items] == [None, FULL, None]
