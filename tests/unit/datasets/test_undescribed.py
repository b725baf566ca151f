"""A catalogue whose items nobody acts on is a warning: ids are written in two ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.datasets.inspection import inspect
from pipeline.datasets.mapping import Mapping
from pipeline.datasets.undescribed import UndescribedActs
from pipeline.events import Item
from tests.support.build import purchase

NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("described", "acted", "is_said"),
    [("ab", ["A", "B"], True), ("ab", ["a", "x"], False), ("", ["x"], False), ("ab", [], False)],
)
def test_most_acts_on_unknown_items_are_a_warning(described: str, acted: list[str], is_said: bool) -> None:
    undescribed = UndescribedActs()
    undescribed.add([Item(item=item, title="T") for item in described], [])
    undescribed.add([], [purchase("u", item, 1) for item in acted])
    warning = undescribed.warning()
    assert (warning is not None) == is_said
    assert not warning or "2 of 2 acts" in warning and "'A'" in warning and "'a'" in warning


def test_inspect_says_that_acts_and_catalogue_write_ids_in_two_ways(tmp_path: Path) -> None:
    (tmp_path / "acts.csv").write_text("who,sku\nu,01\nv,02\n", encoding="utf-8")
    (tmp_path / "products.csv").write_text("sku,name\n1,Mug\n2,Jug\n", encoding="utf-8")
    mapping = Mapping.model_validate(
        {
            "layout": {"files": "acts*", "sorted": True},
            "interactions": {"user": "who", "item": "sku", "type": {"default": "view"}},
            "items": {"item": "sku", "title": "name", "layout": {"files": "products*"}},
        }
    )
    [warning] = inspect(tmp_path, NOW, given=mapping).warnings
    assert "2 of 2 acts are on items that the catalogue does not describe, such as '01'" in warning
