"""Online Retail becomes a catalogue and identified purchases, or a DatasetError with file and line."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.datasets import Dataset, open_dataset
from pipeline.errors import DatasetError
from pipeline.events import Interaction, InteractionType, Item, User

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
SHARED = Path(__file__).parents[3].parent / "shared/data/online-retail"
OPENING_MS = 1_291_191_960_000  # 2010-12-01 08:26 UTC

Write = Callable[..., Dataset]


def line(
    invoice: str = "536365",
    item: str = "85123A",
    description: str = "HEART",
    quantity: str = "6",
    date: str = "2010-12-01 08:26:00",
    customer: str = "17850.0",
) -> str:
    return f"{invoice},{item},{description},{quantity},{date},2.55,{customer},United Kingdom"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*lines: str, header: str = HEADER) -> Dataset:
        path = tmp_path / "sales.csv"
        path.write_text("\n".join([header, *lines, ""]))
        return open_dataset(str(path))

    return write


def items(dataset: Dataset) -> list[Item]:
    return [event for event in dataset.events() if isinstance(event, Item)]


def purchases(dataset: Dataset) -> list[Interaction]:
    return [event for event in dataset.events() if isinstance(event, Interaction)]


def test_a_line_becomes_an_item_and_a_purchase(write: Write) -> None:
    dataset = write(line())
    assert list(dataset.events()) == [
        Item(item="85123A", title="HEART", time=OPENING_MS),
        User(user="17850", attributes={"country": "United Kingdom"}, time=OPENING_MS),
        Interaction(
            event_id=purchases(dataset)[0].event_id,
            user="17850",
            item="85123A",
            type=InteractionType.PURCHASE,
            time=OPENING_MS,
            value=6.0,
            session="536365",
        ),
    ]


def test_dates_may_be_written_as_spreadsheets_do(write: Write) -> None:
    spreadsheet = write(line(date="12/1/2010 8:26"), line(date="12/31/2010 8:26"))
    assert purchases(spreadsheet)[0].time == OPENING_MS


def test_only_identified_purchases_count(write: Write) -> None:
    dataset = write(
        line(customer=""),
        line(invoice="C536366"),
        line(quantity="-6"),
        line(quantity="0"),
        line(invoice="536369", item="kept"),
    )
    assert [item.item for item in items(dataset)] == ["kept"]
    assert [purchase.session for purchase in purchases(dataset)] == ["536369"]


def test_a_line_without_an_item_is_dropped_and_counted(write: Write) -> None:
    dataset = write(line(item=""), line())
    assert len(purchases(dataset)) == 1
    assert dataset.drops.counts == {"no StockCode": 1}


def ids(dataset: Dataset) -> list[str]:
    return [purchase.event_id for purchase in purchases(dataset)]


def test_event_ids_do_not_depend_on_other_rows_or_on_how_the_file_is_written(
    tmp_path: Path, write: Write
) -> None:
    once = ids(write(line()))
    assert ids(write(line(customer=""), line(description="renamed", customer="17850"))) == once
    grown = write(line(), line(item="another"))
    assert ids(grown)[0] == once[0] and len(set(ids(grown))) == 2
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(f"{HEADER}\n{line()}\n".replace(",", ";").encode()))
    assert ids(open_dataset(str(packed))) == once


def test_an_invoice_may_have_the_same_line_twice(write: Write) -> None:
    one, other = ids(write(line(), line()))
    assert (one[-2:], other[-2:]) == ("-1", "-2") and one[:-2] == other[:-2]
    assert ids(write(line(), line(item="between"), line())) == [
        one,
        ids(write(line(item="between")))[0],
        other,
    ]


def test_exports_that_overlap_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "january.csv").write_text("\n".join([HEADER, line(), line(), ""]))
    (tmp_path / "to-february.csv").write_text("\n".join([HEADER, line(), line(), line(item="new"), ""]))
    dataset = open_dataset(str(tmp_path))
    assert [purchase.item for purchase in purchases(dataset)] == ["85123A", "85123A", "new"]
    assert dataset.drops.counts == {"in an earlier file already": 2}


def test_the_title_is_the_most_frequent_description_of_all_rows(write: Write) -> None:
    dataset = write(
        line(description="heart? lost"),
        line(description="WHITE  HEART ", customer=""),
        line(description=" WHITE HEART", invoice="C1"),
    )
    assert [item.title for item in items(dataset)] == ["WHITE HEART"]


def test_the_first_of_equally_frequent_descriptions_wins(write: Write) -> None:
    assert items(write(line(description="B"), line(description="A")))[0].title == "B"


def test_an_item_without_description_is_called_by_its_code(write: Write) -> None:
    assert items(write(line(description=" ")))[0].title == "85123A"


def test_the_catalogue_comes_first_and_then_time_decides(write: Write) -> None:
    dataset = write(
        line(item="late", date="2010-12-01 08:28:00"),
        line(item="tie-b", date="2010-12-01 08:27:00"),
        line(item="tie-a", date="2010-12-01 08:27:00"),
    )
    events = list(dataset.events())
    assert [type(event) for event in events] == [Item] * 3 + [User] + [Interaction] * 3
    assert [purchase.item for purchase in purchases(dataset)] == ["tie-b", "tie-a", "late"]


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "2.csv").write_text(f"{HEADER}\n{line(item='second')}\n")
    (tmp_path / "1.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{line(item='first')}\n".encode()))
    (tmp_path / "SOURCE.txt").write_text("not data")
    dataset = open_dataset(str(tmp_path))
    assert [purchase.item for purchase in purchases(dataset)] == ["first", "second"]


def test_the_digest_is_that_of_the_bytes(tmp_path: Path, write: Write) -> None:
    dataset = write(line())
    assert dataset.digest == hashlib.sha256((tmp_path / "sales.csv").read_bytes()).hexdigest()
    assert write(line(quantity="7")).digest != dataset.digest


def test_a_file_without_purchases_has_no_events(write: Write) -> None:
    assert list(write(line(quantity="-1")).events()) == []


def test_blank_lines_are_no_rows(write: Write) -> None:
    assert len(purchases(write("", line(), ""))) == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("536365,85123A,HEART,6", "4 columns instead of 8"),
        (line() + ",extra", "9 columns instead of 8"),
        (line(date="31/12/10 8:26"), "InvoiceDate '31/12/10 8:26' is no date"),
        (line(date="2010-02-30 08:26:00"), "InvoiceDate '2010-02-30 08:26:00' is no date"),
        (line(date="40513.3514"), "say --dates excel"),
        (line(date="30/2/2010 8:26"), "InvoiceDate '30/2/2010 8:26' is no date if it is day-first"),
        (line(date="1/12/2010 8:26"), "say --dates day-first or --dates month-first"),
        (line(date="1969-12-31 23:59:59"), "InvoiceDate '1969-12-31 23:59:59' is before 1970"),
        (line(quantity="six"), "Quantity 'six' is not a finite number"),
        (line(quantity="nan"), "Quantity 'nan' is not a finite number"),
        (line(quantity='"1,500"'), "Quantity '1,500' may be a decimal comma or thousands"),
        (line(customer="1.785E+04"), "CustomerID is a number of too many digits, which several ids share"),
        (line(item="x" * 129), "item: String should have at most 128 characters"),
        (line(description='"A"B'), "not readable as csv"),
        (line(description="x" * 200_000), "not readable as csv"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(write: Write, bad: str, reason: str) -> None:
    with pytest.raises(DatasetError) as caught:
        list(write(line(), bad).events())
    assert "sales.csv:3: " in str(caught.value)
    assert reason in str(caught.value)


def test_a_later_file_with_other_columns_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(f"{HEADER}\n{line()}\n")
    (tmp_path / "2.csv").write_text("user,item\n1,2\n")
    with pytest.raises(DatasetError, match=r"2\.csv:1: the columns must be InvoiceNo,"):
        list(open_dataset(str(tmp_path)).events())


@pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: data[:30] + b"\0" * 20])
def test_a_damaged_archive_is_an_error(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "sales.csv.gz"
    path.write_bytes(damage(gzip.compress("\n".join([HEADER, *[line()] * 50_000]).encode())))
    with pytest.raises(DatasetError, match=r"sales\.csv\.gz:\d+: not readable as csv"):
        list(open_dataset(str(path)).events())


def test_the_shared_data_match_their_description() -> None:
    """The file holds the first nine of SOURCE.txt's thirteen months."""
    if not SHARED.exists() and os.environ.get("CI") != "true":
        pytest.skip(f"the Online Retail data are not at {SHARED}")
    dataset = open_dataset(str(SHARED))
    events = list(dataset.events())
    catalogue = [event for event in events if isinstance(event, Item)]
    bought = [event for event in events if isinstance(event, Interaction)]

    assert (len(bought), len(catalogue)) == (226_488, 3_394)
    assert len({purchase.user for purchase in bought}) == 3_317
    assert {item.item for item in catalogue} == {purchase.item for purchase in bought}
    assert next(item.title for item in catalogue if item.item == "85123A") == (
        "WHITE HANGING HEART T-LIGHT HOLDER"
    )
    assert all(a.time <= b.time for a, b in itertools.pairwise(events))
    assert len({purchase.event_id for purchase in bought}) == len(bought)
    assert len({p.session for p in bought}) == len({(p.session, p.user) for p in bought})
    assert (bought[0].user, bought[0].session, bought[0].time) == ("17850", "536365", OPENING_MS)
