"""A source is recognised by its content, and the error for an unknown one lists what is supported."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from pipeline.datasets import Shop, ShopSettings, open_dataset
from pipeline.datasets.shop import Drift
from pipeline.errors import DatasetError


def test_the_shop_is_opened_by_name_with_settings() -> None:
    shop = open_dataset("shop:seed=7,events=25,drift=abrupt,drift_at=8,dormant=0.2,opening=2020-02-29")
    assert isinstance(shop, Shop)
    assert shop.settings == ShopSettings(
        seed=7, events=25, drift=Drift.ABRUPT, drift_at=8, dormant=0.2, opening=date(2020, 2, 29)
    )
    default = open_dataset("shop")
    assert isinstance(default, Shop)
    assert default.settings.seed == 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("shop:colour=red", "found 'colour=red'; supported is seed=NUMBER, events=NUMBER"),
        ("shop:seed=x", "found 'seed=x'"),
        ("shop:seed", "found 'seed'"),
        ("shop:items=3", "items must be from 80 to"),
        ("shop:items=100,arrivals=90", "arrivals must be from 0 to 20"),
        ("shop:users=0", "users must be from 1"),
        ("shop:events=-1", "events must not be negative"),
        ("shop:drift=odd", "drift=none|abrupt|gradual|recurring|seasonal"),
        ("shop:drift_span=0", "drift_span must be from 1"),
        ("shop:opening=soon", "opening=YYYY-MM-DD"),
        ("shop:opening=1969-12-31", "opening must be from 1970-01-01"),
        ("shop:dormant=nan", "dormant must be from 0.0 to 0.9"),
        ("shop:items=100,arrivals=0,retitled=15,out_of_stock=6", "out_of_stock must be from 0 to 5"),
        ("shop:slate=81", "slate must be from 0 to 80"),
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
    with pytest.raises(DatasetError, match="found no data file"):
        open_dataset(str(tmp_path))


def test_data_sets_need_no_torch() -> None:
    program = "import sys, pipeline.datasets; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
