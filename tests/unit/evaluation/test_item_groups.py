"""Groups of items, by category or an attribute."""

from __future__ import annotations

import pytest

from pipeline.evaluation.item_groups import groups_of, without_group
from pipeline.events import Attributes, Item
from pipeline.state.catalogue import Catalogue

CUP: Attributes = {"brand": ("A", "B"), "year": 2020}
CATALOGUE = Catalogue(
    [
        (
            "cup",
            Item(item="cup", title="cup", category="kitchen", attributes=CUP),
        ),
        ("mug", Item(item="mug", title="mug", attributes={"brand": "A"})),
        ("named", None),
    ]
)


@pytest.mark.parametrize(
    ("attribute", "groups"),
    [
        ("category", [["kitchen"], ["none"], ["none"]]),
        ("brand", [["A", "B"], ["A"], ["none"]]),
        ("year", [["2020"], ["none"], ["none"]]),
    ],
)
def test_an_item_is_in_the_groups_of_its_values(attribute: str, groups: list[list[str]]) -> None:
    found = groups_of(CATALOGUE, attribute)
    assert [list(found(row)) for row in range(3)] == groups


@pytest.mark.parametrize(
    ("attribute", "warning"),
    [
        ("brand", None),
        ("category", None),
        (
            "Brnad",
            "none of 2 items has such an attribute. Did you mean 'brand'? Items have brand, year, category",
        ),
        ("colour", "none of 2 items has such an attribute. Items have brand, year, category"),
    ],
)
def test_an_attribute_that_no_item_has_is_said(attribute: str, warning: str | None) -> None:
    found = without_group(CATALOGUE, attribute)
    assert found == (f"metrics.group = {attribute!r}: {warning}" if warning else None)


def test_nothing_is_said_of_few_items() -> None:
    assert without_group(CATALOGUE, "colour", least=3) is None
    assert (without_group(CATALOGUE, "colour", least=2) or "").startswith("metrics.group = 'colour'")
    assert "Items have none at all" in (
        without_group(Catalogue([("mug", Item(item="mug", title="mug"))]), "x") or ""
    )
