"""One row may be several: parts of a text, elements of a list."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from pydantic import ValidationError

from pipeline.datasets import MappedDataset
from pipeline.datasets.each import rows_of
from pipeline.datasets.mapping import Mapping, RowLines
from pipeline.datasets.records import Row
from pipeline.events import Interaction

ORDER = {
    "customer": {"id": "ann"},
    "placed": "2024-05-01T10:00:00Z",
    "order": {"lines": [{"sku": "cup", "count": 2}, {"sku": "cup", "count": 2}, {"count": 1}]},
}
ORDERS = {
    "each": {"column": "order.lines"},
    "interactions": {
        "user": "customer.id",
        "item": "order.lines.sku",
        "type": {"default": "purchase"},
        "time": "placed",
        "value": "order.lines.count",
    },
}


def test_the_lines_of_an_order_are_acts(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_bytes(
        orjson.dumps(ORDER) + b"\n" + orjson.dumps({**ORDER, "order": {}})
    )
    dataset = MappedDataset(tmp_path, Mapping.model_validate(ORDERS))
    acts = [event for event in dataset.events() if isinstance(event, Interaction)]
    assert [(act.user, act.item, act.value) for act in acts] == [("ann", "cup", 2.0)] * 2
    assert len({act.event_id for act in acts}) == 2
    assert dict(dataset.drops.counts) == {"no order.lines.sku": 2}


def cells_of(each: RowLines, **cells: object) -> list[object]:
    return [dict(row.cells) for row in rows_of(Row("f:1", cells), each)]


def test_a_text_is_divided_and_its_parts_are_taken_apart() -> None:
    each = RowLines(column="seen", split=" ", pattern="(?P<item>[a-z]+)-(?P<clicked>[01])")
    assert cells_of(each, seen="cup-1  lamp-0 ?", user="u") == [
        {"seen": "cup-1", "user": "u", "item": "cup", "clicked": "1"},
        {"seen": "lamp-0", "user": "u", "item": "lamp", "clicked": "0"},
        {"seen": "?", "user": "u"},
    ]


@pytest.mark.parametrize("empty", ["", [], None, 5, {"a": 1}])
def test_a_row_without_parts_stays_as_it_is(empty: object) -> None:
    assert cells_of(RowLines(column="seen", split=" "), seen=empty) == [{"seen": empty}]


def test_a_column_whose_name_has_dots_is_found() -> None:
    assert cells_of(RowLines(column="a.b"), **{"a.b": [1, 2]}) == [{"a.b": 1}, {"a.b": 2}]


@pytest.mark.parametrize("pattern", ["(", "no groups"])
def test_a_pattern_that_makes_no_columns_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        RowLines(column="seen", pattern=pattern)


def test_a_mapping_that_makes_no_acts_has_no_use_for_parts_of_rows() -> None:
    with pytest.raises(ValidationError, match="it needs a table \\[interactions\\]"):
        Mapping.model_validate({"each": {"column": "variants"}, "items": {"item": "variants.sku"}})
