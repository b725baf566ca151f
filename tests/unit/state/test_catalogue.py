"""The catalogue assigns rows that never change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import Item
from pipeline.state.catalogue import REMOVED, Catalogue, content_digest

ids = st.sampled_from("abcdef")


@given(st.lists(st.tuples(st.sampled_from(["row", "upsert", "remove"]), ids), max_size=20))
def test_rows_are_assigned_in_order_of_arrival_and_never_change(calls: list[tuple[str, str]]) -> None:
    catalogue, arrived = Catalogue(), list[str]()
    for verb, item in calls:
        if verb == "remove":
            catalogue.remove(item)
        elif verb == "upsert":
            catalogue.upsert(Item(item=item, title=item))
        else:
            catalogue.row(item)
        if verb != "remove" and item not in arrived:
            arrived.append(item)
        assert catalogue.ids == arrived
    assert [catalogue.row(item) for item in arrived] == list(range(len(arrived)))


def test_a_tombstone_clears_the_text_and_keeps_the_row() -> None:
    catalogue = Catalogue()
    catalogue.upsert(Item(item="a", title="red cup"))
    row = catalogue.upsert(Item(item="b", title="blue cup"))
    catalogue.remove("b")
    catalogue.remove("unknown")
    assert (len(catalogue), catalogue.row("b"), catalogue.text(row)) == (2, row, "")
    assert not catalogue.available(row)
    assert "unknown" not in catalogue


def test_a_removed_item_may_come_back() -> None:
    catalogue = Catalogue()
    row = catalogue.upsert(Item(item="a", title="red cup"))
    catalogue.remove("a")
    assert catalogue.upsert(Item(item="a", title="green cup")) == row
    assert catalogue.available(row)
    assert catalogue.text(row) == "green cup"


def test_an_item_known_by_its_acts_alone_has_no_text_but_may_be_shown() -> None:
    catalogue = Catalogue()
    row = catalogue.row("a")
    assert catalogue.text(row) == ""
    assert catalogue.available(row)


def test_digests_are_those_of_the_texts() -> None:
    catalogue = Catalogue()
    catalogue.upsert(Item(item="a", title="cup", description="red"))
    catalogue.row("b")
    assert catalogue.digests == [content_digest("cup. red"), ""]
    catalogue.remove("a")
    assert catalogue.digests == [REMOVED, ""]


def test_a_copy_is_independent() -> None:
    catalogue = Catalogue()
    catalogue.upsert(Item(item="a", title="red cup"))
    captured = catalogue.copy()
    assert (captured.digests, captured.take_changed()) == (catalogue.digests, [0])
    catalogue.upsert(Item(item="a", title="blue cup"))
    catalogue.row("b")
    assert (captured.digests[0] == catalogue.digests[0], "b" in captured, captured.row("c")) == (
        False,
        False,
        1,
    )
    assert (captured.ids, captured.text(0), catalogue.take_changed()) == (["a", "c"], "red cup", [0, 1])
