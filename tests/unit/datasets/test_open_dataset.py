"""A source is recognised by what it is, and an unknown one is told what would be known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.datasets import Shop, open_dataset
from pipeline.errors import DatasetError


def test_the_shop_is_opened_by_name_with_settings() -> None:
    shop = open_dataset("shop:seed=7,events=25")
    assert isinstance(shop, Shop)
    assert (shop.settings.seed, shop.settings.events) == (7, 25)
    default = open_dataset("shop")
    assert isinstance(default, Shop)
    assert default.settings.seed == 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("shop:colour=red", "found 'colour=red'; supported is NAME=NUMBER with seed, events"),
        ("shop:seed=x", "found 'seed=x'"),
        ("shop:seed", "found 'seed'"),
        ("shop:items=3", "items must be from 80 to"),
        ("shop:items=100,arrivals=90", "arrivals must be from 0 to 20"),
        ("shop:users=0", "users must be from 1"),
        ("no/such/place", "no/such/place: found neither a file nor a folder; supported is"),
    ],
)
def test_an_unknown_source_says_what_is_supported(source: str, reason: str) -> None:
    with pytest.raises(DatasetError) as caught:
        open_dataset(source)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"user,item\n1,2\n", "found the columns user,item; supported is"),
        (b"", "found the columns none; supported is"),
        (b"\x89PNG\xff", "not readable as csv"),
    ],
)
def test_an_unknown_file_is_named_by_its_columns(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        open_dataset(str(path))
    assert str(path) in str(caught.value)
    assert found in str(caught.value)
    assert "InvoiceNo,StockCode" in str(caught.value)


def test_a_folder_without_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found no csv file in this folder"):
        open_dataset(str(tmp_path))


def test_data_sets_need_no_torch() -> None:
    program = "import sys, pipeline.datasets; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
