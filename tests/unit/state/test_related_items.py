"""Related items: who names whom, who shares a value, and no more than are told apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import Attributes, Item
from pipeline.state.related_items import MOST_RELATED, MOST_SHARING, RelatedItems, RelatedRows

IDS = "abcdef"
BRANDS = st.sampled_from(["Ember", "Falcon"])
ENTRIES = st.fixed_dictionaries(
    {}, optional={"brand": BRANDS, "near": st.lists(st.sampled_from(IDS), max_size=3)}
)


def item(name: str, attributes: Attributes) -> Item:
    return Item(item=name, title="cup", attributes=attributes)


def relating(entries: Sequence[Item]) -> RelatedItems:
    related = RelatedItems(("brand",), ("near",))
    for entry in entries:
        related.put(entry.item, entry)
    return related


def test_items_are_related_by_naming_either_way_and_by_a_value() -> None:
    related = relating(
        [
            item("a", {"near": "b", "brand": "Ember"}),
            item("c", {"brand": "Ember"}),
            item("d", {"near": ("a",)}),
        ]
    )
    assert related.of("a") == ["b", "d", "c"]
    assert related.of("b") == ["a"], "an item that the catalogue does not know yet is named, too"
    assert related.of("c") == ["a"] and related.of("d") == ["a"]
    related.put("a", None)
    assert (related.of("b"), related.of("c"), related.of("d")) == ([], [], ["a"])


@given(st.lists(st.tuples(st.sampled_from(IDS), st.none() | ENTRIES), max_size=20))
def test_only_what_each_item_said_last_counts(changes: list[tuple[str, Attributes | None]]) -> None:
    related, last = relating([]), dict[str, Attributes]()
    for name, attributes in changes:
        related.put(name, None if attributes is None else item(name, attributes))
        last.pop(name, None)
        if attributes is not None:
            last[name] = attributes
    fresh = relating([item(name, attributes) for name, attributes in last.items()])
    for name in IDS:
        assert related.of(name) == fresh.of(name) == related.frozen().of(name)
        assert all(name in related.of(other) for other in related.of(name)), "both ways"


def test_a_value_of_too_many_items_relates_none_until_some_leave() -> None:
    names = [f"{number:03}" for number in range(MOST_SHARING + 1)]
    related = relating([item(name, {"brand": "Ember"}) for name in names])
    assert related.of("000") == []
    related.put("064", None)
    assert related.of("000") == names[1:MOST_SHARING]


def test_the_named_come_first_when_there_are_too_many() -> None:
    names = [f"{number:03}" for number in range(MOST_SHARING)]
    related = relating(
        [item("it", {"near": ("x", "y"), "brand": "Ember"}), *(item(name, {"near": "it"}) for name in names)]
    )
    assert related.of("it") == ["x", "y", *names[: MOST_RELATED - 2]]


def test_a_frozen_copy_does_not_change() -> None:
    related = relating([item("a", {"near": "b"})])
    frozen = related.frozen()
    related.put("c", item("c", {"near": "b"}))
    assert frozen.of("b") == ["a"] and related.of("b") == ["a", "c"]


def test_rows_are_those_of_known_items() -> None:
    related = relating([item("a", {"near": ("b", "unknown")})])
    rows = RelatedRows(related, ["b", "a"], {"b": 0, "a": 1}.get)
    np.testing.assert_array_equal(rows.of(1), [0])
    np.testing.assert_array_equal(rows.of(0), [1])
    assert rows.of(0).dtype == np.int64 and len(rows) == 1
