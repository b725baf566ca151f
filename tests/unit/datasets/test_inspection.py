"""`inspect` recognises or guesses a mapping, asks what it cannot know, and warns of what looks wrong."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.datasets import DateForm, MappedDataset
from pipeline.datasets.cells import WORDS
from pipeline.datasets.guessing import time_format
from pipeline.datasets.inspection import ENDS_AT_FAULT, Inspection, inspect
from pipeline.datasets.mapping import Mapping
from pipeline.events import User
from tests.support.cases import case_file
from tests.support.recorded import as_parquet

NOW = 1_790_000_000_000
ROW = {"user_id": "u1", "product_id": "p1", "event": "add_to_cart", "ts": 1_700_000_000}


def jsonl(tmp_path: Path, *rows: dict[str, Any]) -> Inspection:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return inspect(path, NOW)


def mapping_of(found: Inspection) -> Mapping:
    assert found.mapping is not None
    return found.mapping


@pytest.mark.parametrize(
    ("name", "acts", "changes"),
    [
        ("alnum_customer.csv", 30, {}),
        ("invoice_prefix_C.csv", 30, {}),
        ("semicolon.csv", 30, {}),
        ("decimal_comma.csv", 30, {}),
        ("excel_serial.csv", 30, {"time": {"format": "excel"}}),
        ("online_retail_II.csv", 30, {}),
        ("pandas_index.csv", 30, {}),
        ("repeated_header.csv", 20, {}),
        ("iso_T_offset.csv", 30, {}),
        ("cp1252_pound.csv", 30, {"layout": {"files": "*.csv*", "encoding": "cp1252"}}),
        ("quoted_newline.csv", 30, {}),
        ("blank_date.csv", 29, {}),
    ],
)
def test_the_cases_get_the_right_mapping(name: str, acts: int, changes: dict[str, object]) -> None:
    path = case_file(f"files/{name}")
    found = inspect(path, NOW)
    mapping = mapping_of(found)
    assert (found.is_known, mapping.name, found.questions) == (True, "online-retail", [])
    assert len(found.interactions) == acts
    differing = mapping.model_dump(exclude_defaults=True, include=set(changes) or {"time"})
    assert differing == changes
    assert bool(found.warnings) == (name == "cp1252_pound.csv")
    events = [event for event in MappedDataset(path, mapping).events() if not isinstance(event, User)]
    assert len(events) == acts + len(found.items)


def test_day_and_month_that_cannot_be_told_apart_are_asked_for() -> None:
    path = case_file("files/dayfirst_ambiguous.csv")
    found = inspect(path, NOW)
    assert found.questions == [
        "InvoiceDate: day and month cannot be told apart: say --dates day-first or month-first"
    ]
    assert not found.interactions
    answered = inspect(path, NOW, dates=DateForm.DAY_FIRST)
    assert not answered.questions and len(answered.interactions) == 30


def test_columns_are_guessed_by_names_and_values(tmp_path: Path) -> None:
    row = {**ROW, "name": "Mug", "category_code": "cups", "price": 2.5, "user_session": "s"}
    found = jsonl(tmp_path, row, {**row, "user_id": "u2", "event": "view", "product_id": "p2"})
    mapping = mapping_of(found)
    assert not found.is_known and not found.questions and not found.warnings
    assert (mapping.time.format, mapping.types) == ("s", {"add_to_cart": "cart"})
    assert [(act.user, str(act.type), act.session) for act in found.interactions] == [
        ("u1", "cart", "s"),
        ("u2", "view", "s"),
    ]
    assert found.interactions[0].time == 1_700_000_000_000
    assert {(item.title, item.category) for item in found.items} == {("Mug", "cups")}
    assert found.items[0].attributes == {"price": 2.5}


def test_fields_inside_of_objects_are_found(tmp_path: Path) -> None:
    found = jsonl(
        tmp_path, {"user": {"id": 1}, "visitor_id": "v", "item": {"sku": "a"}, "time": "2023-11-14T22:13:20Z"}
    )
    assert [(act.user, act.item) for act in found.interactions] == [("v", "a")]


def test_a_table_of_germans_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    lines = [
        "Customer;SKU;Qty;Date;Name",
        "1;a;1,5;13.01.2024 08:00;Töpfe",
        "2;b;1.250,0;14.01.2024 08:00;Krüge",
    ]
    path.write_bytes("\n".join(lines).encode("cp1252"))
    found = inspect(path, NOW)
    assert (mapping_of(found).layout.encoding, mapping_of(found).layout.decimal) == ("cp1252", ",")
    assert [act.value for act in found.interactions] == [1.5, 1250.0]
    assert {item.title for item in found.items} == {"Töpfe", "Krüge"}
    assert {str(act.type) for act in found.interactions} == {"purchase"}


@pytest.mark.parametrize(
    ("prices", "decimal", "read"),
    [
        (["1.299,50", "5"], ",", [1299.5, 5.0]),
        (["1,299.50", "1,000"], ".", [1299.5, 1000.0]),
        (["12.50", "1,000", "NA"], ".", [12.5, 1000.0, None]),
        (["1,000,000", "5"], ".", [1_000_000.0, 5.0]),
        (["1.5", "2.25"], None, [1.5, 2.25]),
    ],
)
def test_prices_with_thousands_are_read(
    tmp_path: Path, prices: list[str], decimal: str | None, read: list[float | None]
) -> None:
    rows = ({**ROW, "product_id": f"p{i}", "name": "Mug", "price": price} for i, price in enumerate(prices))
    found = jsonl(tmp_path, *rows)
    assert mapping_of(found).layout.decimal == decimal
    by_item = {item.item: item.attributes.get("price") for item in found.items}
    assert [by_item[f"p{i}"] for i in range(len(prices))] == read
    assert not found.drops.counts


@pytest.mark.parametrize("price", ["$12.00", "12 EUR", "1,000"])
def test_prices_that_cannot_be_read_do_not_cost_the_acts(tmp_path: Path, price: str) -> None:
    rows = [{**ROW, "product_id": f"p{i}", "name": "Mug", "price": price} for i in range(2)]
    found = jsonl(tmp_path, *rows)
    assert len(found.interactions) == 2 and not found.drops.counts
    assert f"most values of price are no numbers, such as {price!r}, so it is not taken" in found.warnings[0]
    assert not any(item.attributes for item in found.items)
    catalogue = jsonl(tmp_path, *({"sku": row["product_id"], "name": "Mug", "price": price} for row in rows))
    assert len(catalogue.items) == 2 and "no numbers" in catalogue.warnings[0]


def test_dates_are_read_where_the_times_have_none(tmp_path: Path) -> None:
    row = {"user_id": "u1", "item_id": "a", "date": "2023-11-14", "time": "10:30:00"}
    found = jsonl(tmp_path, row, {**row, "item_id": "b", "time": "9:15"}, {**row, "date": "2023-11-13"})
    assert [(act.item, act.time % 86_400_000) for act in found.interactions] == [("a", 0), ("a", 0), ("b", 0)]
    assert any("time has no dates, and is not read" in one for one in found.warnings)


def test_sessions_without_users_are_users(tmp_path: Path) -> None:
    found = jsonl(tmp_path, *({"session_id": s, "item_id": s * 2, "ts": 1_700_000_000} for s in "ab"))
    assert [(act.user, act.session) for act in found.interactions] == [("a", "a"), ("b", "b")]
    assert any("each session_id is taken for one, who is new every time" in one for one in found.warnings)


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([1_700_000_000], "s"),
        (["1704990000", "1704990037"], "s"),
        (["1700000000123"], "ms"),
        ([1_700_000_000_123_456], "us"),
        (["1700000000123456789"], "ns"),
        (["40513.3514"], "excel"),
        ([20231114], "%Y%m%d"),
        (["20231114"], None),
        (["2023-11-14 22:13:20 UTC"], "%Y-%m-%d %H:%M:%S UTC"),
        (["2023-11-14T22:13:20+01:00", "2023-11-14"], None),
        (["13/11/2023"], None),
        (["soon"], None),
        ([], None),
    ],
)
def test_the_form_of_times_is_guessed(values: list[object], form: str | None) -> None:
    assert time_format(values) == form


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"order_id": "o"}, None),
        ({"event_id": "one"}, "event_id is the same for several rows: it is not taken for event_id"),
        ({"ts": 170_000_000}, "the first time is before 1990"),
        ({"ts": 3_400_000_000}, "the last time is in the future"),
        ({"user_id": "one"}, "all rows have the same user"),
        ({"event": "pondered"}, "no column says the type of act: each is taken for a view"),
        ({"ts": None}, None),
        ({"title": None}, "no item has a title"),
    ],
)
def test_what_looks_wrong_is_said(tmp_path: Path, change: dict[str, object], warning: str | None) -> None:
    found = jsonl(tmp_path, {**ROW, **change}, {**ROW, "user_id": "u2", "product_id": "p2", **change})
    assert [text for text in found.warnings if warning is not None and warning in text] or warning is None


def test_values_that_are_no_type_are_named_and_counted(tmp_path: Path) -> None:
    found = jsonl(tmp_path, ROW, {**ROW, "event": "pondered"})
    assert "event has values that are no known type, and are left out: pondered" in found.warnings
    assert found.drops.counts == {"event is no type that [types] names": 1}


def test_a_parquet_file_is_inspected_by_its_types(tmp_path: Path) -> None:
    rows = [{**ROW, "ts": datetime(2023, 11, 14, 22, 13, 20)}, {**ROW, "user_id": "u2", "ts": None}]
    found = inspect(as_parquet(tmp_path / "rows.parquet", rows), NOW)
    assert [act.time for act in found.interactions] == [1_700_000_000_000]
    assert found.drops.counts == {"no ts": 1}


def test_without_a_user_or_an_item_nothing_is_guessed(tmp_path: Path) -> None:
    found = jsonl(tmp_path, {"a": 1, "b": 2})
    assert found.mapping is None
    assert found.questions == ["no column looks like the user or the item: name it in a mapping"]


CATALOGUE = (
    "sku;name;price;dept\n1;Tasse;1.234,50;Küche\n2;Teller;0,5;Küche\n;Nichts;1,0;\n3;Topf;viel;Küche\n"
)


def test_rows_of_items_without_users_are_a_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text(CATALOGUE, encoding="utf-8")
    found = inspect(path, NOW)
    mapping = mapping_of(found)
    assert (mapping.is_catalogue, found.questions, found.warnings) == (True, [], [ENDS_AT_FAULT])
    assert [(item.item, item.title, item.attributes["price"]) for item in found.items] == [
        ("1", "Tasse", 1234.5),
        ("2", "Teller", 0.5),
    ]
    reasons = {"an item without id": 1, f"price is not a finite number: {WORDS}": 1}
    assert found.drops.counts == reasons
    assert inspect(path, NOW, given=mapping).items == found.items


def test_a_catalogue_whose_items_are_called_id_is_known_by_their_titles(tmp_path: Path) -> None:
    found = jsonl(tmp_path, {"id": 7, "title": "Mug"}, {"id": 8, "title": "Jug"})
    assert {item.item: item.title for item in found.items} == {"7": "Mug", "8": "Jug"}


def test_rows_that_would_end_the_reading_are_a_warning_until_the_mapping_leaves_them_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "acts.csv"
    path.write_text("user,item,when\nu,i,2024-01-01\nu,i\nv,j,2024-01-02\n", encoding="utf-8")
    found = inspect(path, NOW)
    assert ENDS_AT_FAULT in found.warnings
    tolerant = mapping_of(found).model_copy(update={"invalid": "drop"})
    assert ENDS_AT_FAULT not in inspect(path, NOW, given=tolerant).warnings
