"""Items are loaded from files, listed, searched, shown and removed."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.config import Settings
from pipeline.model.content.series import encode_series
from tests.support.commands import fails, misused, run
from tests.support.model_harness import ModelHarness

MAPPING = """
[layout]
delimiter = ";"
encoding = "cp1252"
decimal = ","

[interactions]
user = "customer"
item = "sku"
type = "action"

[time]
zone = "Europe/Berlin"

[items]
item = "sku"
title = "name"
category = "group"
published = "since"
attributes = { price = { column = "price", kind = "number" } }
"""
PRODUCTS = """sku;name;group;price;since
mug-1;Weiße Tasse;Tassen;4,50;25.11.2026
mug-2;Rote Tasse;Tassen;1.004,50;01.12.2026
"""


@pytest.fixture
def products(folder: Path) -> Path:
    (folder / "mapping.toml").write_text(MAPPING)
    (folder / "products.csv").write_text(PRODUCTS, encoding="cp1252")
    run("topics", "create")
    return folder / "products.csv"


def load(file: Path | str, *options: str) -> str:
    return run("items", "load", str(file), "--mapping", "mapping.toml", *options).output


def shown(item: str) -> dict[str, object]:
    found: dict[str, object] = orjson.loads(run("items", "show", item).output)
    return found


def test_a_catalogue_of_a_spreadsheet_is_loaded(products: Path) -> None:
    assert load(products).endswith("2 items added to mill.items, or replaced there\n")
    cup = shown("mug-2")
    assert (cup["title"], cup["category"], cup["attributes"]) == ("Rote Tasse", "Tassen", {"price": 1004.5})
    assert cup["published"] == 1_796_079_600_000  # 1 December, because 25.11. proves the order
    page = run("items", "list").output
    assert "2 items" in page and "Weiße Tasse" in page and "price=4.5" in page


def test_a_catalogue_loaded_again_replaces_what_it_repeats(products: Path) -> None:
    load(products)
    products.write_text(PRODUCTS.replace("Rote", "Blaue"), encoding="cp1252")
    load(products)
    assert shown("mug-2")["title"] == "Blaue Tasse"
    assert "2 items" in run("items", "list").output


def test_a_bad_row_is_named_and_nothing_is_loaded(
    products: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    products.write_text(PRODUCTS + "m3;Teller;Teller;teuer;25.11.2026\n", encoding="cp1252")
    line = fails(monkeypatch, capsys, "items", "load", str(products), "--mapping", "mapping.toml")
    assert "products.csv:4: price 'teuer'" in line
    assert "0 items" in run("items", "list").output


def test_bad_rows_are_counted_where_the_mapping_says_so(products: Path) -> None:
    Path("mapping.toml").write_text('invalid = "drop"\n' + MAPPING)
    products.write_text(PRODUCTS + "m3;Teller;Teller;teuer;25.11.2026\n;;;;\n", encoding="cp1252")
    output = load(products)
    assert "dropped 1 row: price" in output and "dropped 1 row: an item without id" in output
    assert output.endswith("2 items added to mill.items, or replaced there\n")


def test_items_and_changes_are_loaded_from_our_own_lines(products: Path) -> None:
    lines = [
        {"item": "a", "title": "White mug", "attributes": {"brand": "Ember"}},
        {"item": "a", "available": False},
        {"v": 2, "kind": "item", "item": "b", "title": "Red plate"},
    ]
    Path("items.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    run("items", "load", "items.jsonl")
    mug = shown("a")
    assert (mug["title"], mug["available"], mug["attributes"]) == ("White mug", False, {"brand": "Ember"})


def test_a_line_that_is_no_item_is_named_with_the_remedy(
    products: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("items.jsonl").write_text('{"item": "a", "title": "White mug"}\n{"item": 5, "title": "Plate"}\n')
    line = fails(monkeypatch, capsys, "items", "load", "items.jsonl")
    assert "items.jsonl:2: item: " in line and "send it as a string" in line


@pytest.mark.parametrize("of", ["items", "users"])
def test_a_csv_without_a_mapping_is_refused_with_the_remedy(
    products: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], of: str
) -> None:
    Path("crm.csv").write_text("id,tier\nann,gold\n")
    line = fails(monkeypatch, capsys, of, "load", "crm.csv")
    assert "crm.csv:1: " in line and "millstream inspect FILE --write mapping.toml" in line


def test_attributes_are_listed_as_they_are_sent(products: Path) -> None:
    attributes = {"sizes": ["S", "L"], "eco": True, "price": 7.5, "code": "7"}
    Path("items.jsonl").write_bytes(orjson.dumps({"item": "a", "title": "Mug", "attributes": attributes}))
    run("items", "load", "items.jsonl")
    listed = "".join(run("items", "list").output.split())
    assert all(one in listed for one in ('sizes=["S","L"]', "eco=true", "price=7.5", 'code="7"'))


def test_the_line_of_an_item_that_is_too_large_is_named(
    products: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    large = {"item": "b", "title": "Mug", "attributes": {f"a{n}": ["ü" * 500] * 64 for n in range(64)}}
    Path("items.jsonl").write_bytes(b'{"item": "a", "title": "Mug"}\n' + orjson.dumps(large))
    line = fails(monkeypatch, capsys, "items", "load", "items.jsonl")
    assert "items.jsonl:2: event: larger than" in line


def test_titles_are_searched_by_words(products: Path) -> None:
    load(products)
    assert "mug-1" in run("items", "search", "tasse", "WEISSE").output
    assert "mug-2" not in run("items", "search", "tasse", "weiße").output
    assert "0 items" in run("items", "search", "teller").output


def test_a_title_is_found_by_words_of_its_script_in_either_form(products: Path) -> None:
    titles = {"cup": unicodedata.normalize("NFD", "Tasse à café"), "glass": "كوب أحمر", "bowl": "红色的碗"}
    lines = [orjson.dumps({"item": item, "title": title}) for item, title in titles.items()]
    Path("items.jsonl").write_bytes(b"\n".join(lines))
    run("items", "load", "items.jsonl")
    for word, item in {
        "CAFÉ": "cup",
        unicodedata.normalize("NFD", "à"): "cup",
        "أحمر": "glass",
        "红色": "bowl",
    }.items():
        found = run("items", "search", word).output
        assert item in found and "1 item" in found


def test_an_item_is_removed_after_a_question(products: Path, settings: Settings) -> None:
    load(products)
    asked = CliRunner().invoke(cli.app, ["items", "remove", "mug-1"], input="n\n")
    assert "Remove mug-1 (Weiße Tasse)?" in asked.output and asked.exit_code == 1
    assert shown("mug-1")
    assert run("items", "remove", "mug-1", "--yes").output == "mug-1 is removed\n"
    assert "no item has the id 'mug-1'; the nearest is 'mug-2'" in misused("items", "show", "mug-1")
    with ModelHarness(settings) as harness:
        assert [one.key for one in harness.records(harness.topics.items) if one.value is None] == ["mug-1"]
    load(products)
    assert shown("mug-1")["title"] == "Weiße Tasse"


WAVE = [0.0, 1.0, 0.0, -1.0] * 8


def encoded(*lines: object) -> None:
    Path("series.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    run("items", "series", "series.jsonl", "--name", "wave", "--width", "8", "--write", "changes.jsonl")


def test_series_become_vectors_of_items(products: Path) -> None:
    load(products)
    encoded({"item": "mug-1", "series": WAVE}, {"item": "new", "series": [1, 2] * 9})
    assert "2 items" in run("items", "load", "changes.jsonl").output
    mug = shown("mug-1")
    assert mug["title"] == "Weiße Tasse"
    assert isinstance(mug["vectors"], dict)
    assert mug["vectors"]["wave"] == encode_series(WAVE, 8).round(5).tolist()


def test_series_are_not_written_over(
    products: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    series = orjson.dumps({"item": "mug-1", "series": WAVE})
    Path("series.jsonl").write_bytes(series)
    options = "--name", "wave", "--write", "series.jsonl"
    assert "is what is read" in fails(monkeypatch, capsys, "items", "series", "series.jsonl", *options)
    assert Path("series.jsonl").read_bytes() == series


def test_a_name_that_no_setting_can_have_is_refused(products: Path) -> None:
    options = "--name", "Load Curve", "--write", "changes.jsonl"
    assert "is no name of vectors" in misused("items", "series", "series.jsonl", *options)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({"item": "a", "series": WAVE[:8]}, "series.jsonl:2: series: a series has from 9 to 65536 numbers"),
        ({"item": "a", "series": ["1"] * 9}, "series.jsonl:2: series"),
        ({"series": WAVE}, "series.jsonl:2: item"),
        ({"item": "mug-1", "series": WAVE}, "series.jsonl:2: item: its series is at "),
    ],
)
def test_a_line_without_a_series_is_named(
    products: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: dict[str, object],
    fault: str,
) -> None:
    lines = [{"item": "mug-1", "series": WAVE}, line]
    Path("series.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    options = "--name", "wave", "--write", "changes.jsonl"
    assert fault in fails(monkeypatch, capsys, "items", "series", "series.jsonl", *options)
    assert not Path("changes.jsonl").exists()


def test_rules_leave_out_rows_of_a_catalogue_and_of_users(folder: Path) -> None:
    drop = '[[drop]]\ncolumn = "state"\nmatches = "draft|staff"\nreason = "not for customers"\n'
    (folder / "mapping.toml").write_text(f'[items]\nitem = "sku"\ntitle = "name"\n{drop}')
    (folder / "products.csv").write_text("sku,name,state\nmug,Mug,on sale\ncup,Cup,draft\n")
    run("topics", "create")
    output = load(folder / "products.csv")
    assert "1 item added" in output and "dropped 1 row: not for customers" in output
    assert "no item has the id 'cup'" in misused("items", "show", "cup") and shown("mug")["title"] == "Mug"
    (folder / "users.toml").write_text(f'[users]\nuser = "id"\nattributes = {{ state = "state" }}\n{drop}')
    (folder / "users.csv").write_text("id,state\nann,gold\nbob,staff\n")
    output = run("users", "load", "users.csv", "--mapping", "users.toml").output
    assert "1 user added" in output and "dropped 1 row: not for customers" in output
