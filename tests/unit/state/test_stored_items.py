"""Items survive being stored, whatever they hold, and take little memory."""

from __future__ import annotations

import sys

import pytest

from pipeline.errors import InvalidEvent
from pipeline.events import Item, ItemChange, decode_item, encode
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


@pytest.mark.parametrize("expires", [1, 2])
def test_an_item_whose_changes_leave_it_no_time_of_sale_is_read(expires: int) -> None:
    """A change is valid by itself, and what it is applied to may not be known where it is accepted."""
    item = ItemChange(item="a", expires=expires).applied_to(Item(item="a", title="red cup", published=2))
    assert read_item(stored_item(item)) == item
    with pytest.raises(InvalidEvent, match="must be after published"):
        decode_item(encode(item))


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
