"""Data without a row is an error of one line, whatever opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.datasets import open_dataset
from pipeline.datasets.catalogue_file import CatalogueFile
from pipeline.datasets.inspection import inspect
from pipeline.datasets.users_file import UsersFile
from pipeline.errors import DatasetError, EmptyData
from pipeline.events import Interaction, Item, User

NOW = 1_800_000_000_000
ONLINE_RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
OPENERS: dict[str, Callable[[Path], object]] = {
    "backtest, play, tune, demo": lambda path: open_dataset(str(path)),
    "inspect": lambda path: inspect(path, NOW),
}


@pytest.mark.parametrize("opens", OPENERS.values(), ids=OPENERS)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("known.csv", ONLINE_RETAIL),
        ("known.csv", 2 * ONLINE_RETAIL),
        ("unknown.csv", "who,what,when\n"),
        ("blank.csv", "\n\n"),
        ("empty.csv", ""),
        ("empty.jsonl", ""),
        ("empty.parquet", ""),
    ],
)
def test_a_file_without_rows_is_an_error_that_names_it(
    tmp_path: Path, opens: Callable[[Path], object], name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(EmptyData, match=rf"{name} has no rows, so there is nothing to read: export"):
        opens(tmp_path / name)


@pytest.mark.parametrize("opens", OPENERS.values(), ids=OPENERS)
def test_a_folder_without_rows_is_one_too(tmp_path: Path, opens: Callable[[Path], object]) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(ONLINE_RETAIL)
    with pytest.raises(EmptyData, match=r"the 2 files in .* have no rows"):
        opens(tmp_path)


def test_one_file_of_a_folder_may_be_without_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ONLINE_RETAIL)
    (tmp_path / "b.csv").write_text(ONLINE_RETAIL + "1,A,red cup,1,2010-12-01 08:26:00,1,17850,UK\n")
    events = list(open_dataset(str(tmp_path)).events())
    assert [type(event) for event in events] == [Item, User, Interaction]


def test_an_empty_folder_has_no_data_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found no data file in this folder"):
        inspect(tmp_path, NOW)


@pytest.mark.parametrize(
    "reads", [lambda path: CatalogueFile(path, None, NOW), lambda path: UsersFile(path, None, NOW)]
)
def test_items_and_users_are_not_read_from_nothing(tmp_path: Path, reads: Callable[[Path], object]) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(EmptyData, match=r"empty.jsonl has no rows"):
        reads(tmp_path / "empty.jsonl")
