"""What items say of each other: shared values, related items, and who names whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import Attributes, Item
from pipeline.state.relations import References, attributes_of, related_items, values_of

IDS = st.sampled_from("abcde")


def item(attributes: Attributes, category: str | None = None) -> Item:
    return Item(item="a", title="cup", category=category, attributes=attributes)


def test_values_are_those_of_an_attribute_or_the_category() -> None:
    found = item({"brand": "Ember", "sizes": ("S", "M")}, category="mugs")
    assert [*values_of(found, "brand"), *values_of(found, "sizes")] == ["Ember", "S", "M"]
    assert [*values_of(found, "category")] == ["mugs"]
    assert not values_of(found, "unknown") and not values_of(item({}), "category")
    assert attributes_of(found, ["brand", "unknown"]) == {"brand": ("Ember",)}


def test_related_items_are_named_once_in_any_attribute_and_never_oneself() -> None:
    found = item({"accessory_of": ("c", "b", "a", "c"), "series": "b", "brand": "Ember", "count": 7})
    assert related_items(found, ["accessory_of", "series", "unknown"]) == ["c", "b"]
    assert related_items(found, ["count"]) == ["7"], "ids of digits may come as numbers"
    assert related_items(found, []) == []


@given(st.lists(st.tuples(IDS, st.lists(IDS, max_size=3, unique=True)), max_size=20))
def test_who_names_whom_is_what_each_named_last(changes: list[tuple[str, list[str]]]) -> None:
    references, named = References(), dict[str, list[str]]()
    for by, related in changes:
        references.put(by, related)
        named[by] = related
    copied = references.copy()
    for other in "abcde":
        assert {*references.to(other)} == {by for by, related in named.items() if other in related}
    for other in "abcde":
        references.put(other, ())
    assert not any(references.to(other) for other in "abcde")
    for other in "abcde":
        assert {*copied.to(other)} == {by for by, related in named.items() if other in related}
