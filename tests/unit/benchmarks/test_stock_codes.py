"""Variants of one design share the digits of their stock codes, and name each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.stock_codes import DESIGN, VARIANTS, Variants, design_of
from pipeline.datasets.drops import Drops
from pipeline.events import Event, Interaction, InteractionType, Item

ACT = Interaction(event_id="e", user="ann", item="84029E", type=InteractionType.PURCHASE, time=0)


class Codes:
    """A data set of a few items."""

    name, digest, drops = "codes", "0", Drops()

    def events(self) -> Iterator[Event]:
        for item in ("84029E", "84029G", "85123A", "POST"):
            yield Item(item=item, title=item)
        yield ACT


@pytest.mark.parametrize(("item", "design"), [("84029E", "84029"), ("22423", "22423"), ("POST", "POST")])
def test_a_design_is_the_digits_that_an_id_begins_with(item: str, design: str) -> None:
    assert design_of(item) == design


def test_items_name_the_others_of_their_design_and_acts_stay() -> None:
    *items, act = Variants(Codes()).events()
    assert act == ACT
    described = {item.item: item.attributes for item in items if isinstance(item, Item)}
    assert described == {
        "84029E": {DESIGN: "84029", VARIANTS: ("84029G",)},
        "84029G": {DESIGN: "84029", VARIANTS: ("84029E",)},
        "85123A": {DESIGN: "85123"},
        "POST": {DESIGN: "POST"},
    }
