"""What headers and settings show to be wrong is refused as files are opened, before any work begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets import MappedDataset
from pipeline.datasets.catalogue_file import CatalogueFile
from pipeline.datasets.inspection import inspect
from pipeline.datasets.mapping import Mapping
from pipeline.datasets.users_file import UsersFile
from pipeline.errors import DatasetError
from tests.support.recorded import as_csv, as_parquet

NOW = 1_800_000_000_000
ACTS = {"user": "who", "item": "sku", "time": "when", "type": {"default": "view"}}
ITEMS = {"item": "sku", "title": "name"}
USERS = {"user": "who", "attributes": {"country": "land"}}
ROW = {"who": "u1", "sku": "i1", "when": "2024-01-01"}


def mapping(**tables: Any) -> Mapping:
    return Mapping.model_validate(tables)


@pytest.mark.parametrize(
    ("write", "ending", "place"), [(as_csv, "csv", r"2\.csv:1"), (as_parquet, "parquet", r"2\.parquet")]
)
def test_each_file_has_the_columns_of_its_mapping(
    tmp_path: Path, write: Callable[[Path, list[dict[str, Any]]], Path], ending: str, place: str
) -> None:
    write(tmp_path / f"1.{ending}", [ROW])
    write(tmp_path / f"2.{ending}", [ROW])
    assert len(list(MappedDataset(tmp_path, mapping(interactions=ACTS)).events())) == 1
    write(tmp_path / f"2.{ending}", [{"user": "u1", "sku": "i1", "when": "2024-01-01"}])
    with pytest.raises(
        DatasetError, match=rf"{place}: the columns must be who,sku,when: who is not among user"
    ):
        MappedDataset(tmp_path, mapping(interactions=ACTS))


@pytest.mark.parametrize(
    ("part", "lacking"),
    [
        ({"items": {**ITEMS, "layout": {"files": "part.csv"}}}, "sku,name: name"),
        ({"users": {**USERS, "layout": {"files": "part.csv"}}}, "who,land: land"),
    ],
)
def test_so_have_the_files_of_items_and_users(tmp_path: Path, part: dict[str, Any], lacking: str) -> None:
    as_csv(tmp_path / "acts.csv", [ROW])
    as_csv(tmp_path / "part.csv", [{"who": "u1", "sku": "i1"}])
    how = mapping(layout={"files": "acts.csv"}, interactions=ACTS, **part)
    with pytest.raises(DatasetError, match=rf"part\.csv:1: the columns must be {lacking} is not among"):
        MappedDataset(tmp_path, how)


def test_columns_that_a_mapping_names_hold_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("u1,i1,2024-01-01\n")
    how = mapping(layout={"columns": ["who", "item", "when"]}, interactions=ACTS)
    with pytest.raises(DatasetError, match=r"rows\.csv: the columns must be .*: sku is not among who,item,"):
        MappedDataset(tmp_path / "rows.csv", how)


@pytest.mark.parametrize(
    ("reader", "table"), [(CatalogueFile, {"items": ITEMS}), (UsersFile, {"users": USERS})]
)
def test_a_later_file_is_refused_before_a_row_of_an_earlier_one_is_loaded(
    tmp_path: Path, reader: Callable[[Path, Mapping, int], object], table: dict[str, Any]
) -> None:
    as_csv(tmp_path / "1.csv", [{"who": "u1", "sku": "i1", "name": "Mug", "land": "FI"}])
    as_csv(tmp_path / "2.csv", [{"who": "u2", "sku": "i2"}])
    with pytest.raises(DatasetError, match=r"2\.csv:1: the columns must be"):
        reader(tmp_path, mapping(**table), NOW)


def test_an_inspection_shows_the_columns_beside_what_is_lacking(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "rows.csv", [{"user": "u1", "sku": "i1", "when": 1}])
    found = inspect(path, NOW, given=mapping(interactions=ACTS))
    assert [*found.samples] == ["user", "sku", "when"]
    assert "who is not among user,sku,when" in found.questions[0]
