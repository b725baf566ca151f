"""Exports of shops as they come: each is read right, or refused with line, column, value and remedy."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.datasets import Dataset, DateForm, open_dataset
from pipeline.datasets.cells import order_of
from pipeline.datasets.tables import Table, rows
from pipeline.errors import DatasetError
from pipeline.events import Interaction, Item
from tests.support.cases import case_file

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
Parts = dict[str, str]
LINE: Parts = {
    "invoice": "536300",
    "item": "85120A",
    "title": "MUG",
    "quantity": "6",
    "date": "2010-12-01 08:00:00",
    "price": "2.55",
    "customer": "17850",
    "country": "UK",
}


def case(name: str) -> str:
    return str(case_file(f"files/{name}"))


def lines(count: int, **changes: Callable[[int], str]) -> list[str]:
    """Invoice lines in which the named parts follow from the number of the line."""
    made = ({**LINE, **{name: of(number) for name, of in changes.items()}} for number in range(count))
    return [",".join(parts.values()) for parts in made]


def written(tmp_path: Path, body: list[str], header: str = HEADER, encoding: str = "utf-8") -> str:
    path = tmp_path / "export.csv"
    path.write_bytes("\n".join([header, *body, ""]).encode(encoding))
    return str(path)


def bought(dataset: Dataset) -> list[Interaction]:
    return [event for event in dataset.events() if isinstance(event, Interaction)]


def titles(dataset: Dataset) -> set[str]:
    return {event.title for event in dataset.events() if isinstance(event, Item)}


def moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def refusal(source: str, **options: object) -> str:
    with pytest.raises(DatasetError) as caught:
        list(open_dataset(source, **options).events())  # type: ignore[arg-type]
    return str(caught.value)


def test_customers_may_be_text(tmp_path: Path) -> None:
    for source in (
        written(tmp_path, lines(6, customer=lambda n: f"CUST-{n % 3}")),
        case("alnum_customer.csv"),
    ):
        assert {purchase.user for purchase in bought(open_dataset(source))} >= {"CUST-0", "CUST-1", "CUST-2"}


def test_a_missing_customer_is_no_user(tmp_path: Path) -> None:
    values = ["", "nan", "NULL", "17850"]
    dataset = open_dataset(written(tmp_path, lines(4, customer=values.__getitem__)))
    assert [purchase.user for purchase in bought(dataset)] == ["17850"]
    assert dataset.drops.counts == {"no customer": 3}


def test_an_invoice_is_cancelled_by_c_and_digits_alone(tmp_path: Path) -> None:
    values = ["CA-2016-152100", "C536379", "c536379", "C-1"]
    dataset = open_dataset(written(tmp_path, lines(4, invoice=values.__getitem__)))
    assert [purchase.session for purchase in bought(dataset)] == ["CA-2016-152100", "C-1"]
    assert dataset.drops.counts == {"a cancelled invoice (C and digits)": 2}
    assert dataset.drops.first["a cancelled invoice (C and digits)"].endswith("export.csv:3")


def test_the_case_of_invoices_that_begin_with_c() -> None:
    dataset = open_dataset(case("invoice_prefix_C.csv"))
    assert len(bought(dataset)) == 30
    assert not dataset.drops.counts


def test_day_and_month_that_cannot_be_told_apart_are_asked_for(tmp_path: Path) -> None:
    for source in (
        written(tmp_path, lines(5, date=lambda n: f"0{n + 1}/12/2010 08:00")),
        case("dayfirst_ambiguous.csv"),
    ):
        reason = refusal(source)
        assert ":2: InvoiceDate '01/12/2010 08:00'" in reason
        assert "--dates day-first or --dates month-first" in reason
        read = {
            form: bought(open_dataset(source, dates=form))
            for form in (DateForm.DAY_FIRST, DateForm.MONTH_FIRST)
        }
        assert moment(read[DateForm.DAY_FIRST][0].time) == "2010-12-01T08:00:00+00:00"
        assert moment(read[DateForm.MONTH_FIRST][0].time) == "2010-01-12T08:00:00+00:00"


@pytest.mark.parametrize(
    ("dates", "first"),
    [
        (["01/12/2010 8:00", "13/12/2010 8:00"], "2010-12-01T08:00:00+00:00"),
        (["01/12/2010 8:00", "01/13/2010 8:00"], "2010-01-12T08:00:00+00:00"),
        (["01.12.2010 8:00:30", "13.12.2010"], "2010-12-01T08:00:30+00:00"),
        (["01-12-2010", "31-12-2010"], "2010-12-01T00:00:00+00:00"),
    ],
)
def test_one_date_may_prove_the_order_of_all(tmp_path: Path, dates: list[str], first: str) -> None:
    found = bought(open_dataset(written(tmp_path, lines(2, date=dates.__getitem__))))
    assert moment(min(purchase.time for purchase in found)) == first


def test_dates_that_prove_both_orders_are_refused_with_both_places(tmp_path: Path) -> None:
    dates = ["13/12/2010", "12/13/2010"]
    reason = refusal(written(tmp_path, lines(2, date=dates.__getitem__)))
    assert "export.csv:2" in reason and "export.csv:3" in reason and "different orders" in reason
    assert order_of("13/13/2010") is None


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_read(tmp_path: Path, delimiter: str) -> None:
    body = [text.replace(",", delimiter) for text in lines(3)]
    assert len(bought(open_dataset(written(tmp_path, body, HEADER.replace(",", delimiter))))) == 3


def test_a_decimal_comma_is_read_where_it_is_one(tmp_path: Path) -> None:
    for source in (written(tmp_path, lines(1, quantity=lambda _: '"1,5"')), case("decimal_comma.csv")):
        assert {purchase.value for purchase in bought(open_dataset(source))} == {1.5}
    reason = refusal(written(tmp_path, lines(1, quantity=lambda _: '"1,500"')))
    assert "export.csv:2: Quantity '1,500' may be a decimal comma or thousands: write it without" in reason


def test_days_of_a_spreadsheet_are_read_when_asked(tmp_path: Path) -> None:
    for source in (
        written(tmp_path, lines(2, date=lambda n: "40513.3514"[: 10 - n])),
        case("excel_serial.csv"),
    ):
        assert ":2: InvoiceDate '40513" in refusal(source) and "say --dates excel" in refusal(source)
        found = bought(open_dataset(source, dates=DateForm.EXCEL))
        assert moment(found[0].time).startswith("2010-12-01T")


@pytest.mark.parametrize(
    "name", ["online_retail_II.csv", "pandas_index.csv", "semicolon.csv", "quoted_newline.csv"]
)
def test_these_cases_are_read_whole(name: str) -> None:
    dataset = open_dataset(case(name))
    assert len(bought(dataset)) == 30
    assert not dataset.drops.counts


def test_columns_may_have_other_names_and_another_order_and_others_among_them(tmp_path: Path) -> None:
    header = "Total,Customer ID,Invoice,StockCode,Description,Quantity,InvoiceDate"
    dataset = open_dataset(written(tmp_path, ["9,17850,536300,85120A,MUG,6,2010-12-01 08:00:00"], header))
    (purchase,) = bought(dataset)
    assert (purchase.user, purchase.session, purchase.item) == ("17850", "536300", "85120A")
    twice = written(tmp_path, ["1"], HEADER + ",Invoice")
    with pytest.raises(DatasetError, match="found the columns"):
        open_dataset(twice)


def test_a_repeated_header_is_dropped_and_counted(tmp_path: Path) -> None:
    for source in (written(tmp_path, [*lines(2), HEADER, *lines(1)]), case("repeated_header.csv")):
        dataset = open_dataset(source)
        bought(dataset)
        assert dataset.drops.counts == {"the header again": 1}


def test_a_date_with_an_offset_is_in_utc(tmp_path: Path) -> None:
    for source in (
        written(tmp_path, lines(1, date=lambda _: "2010-12-01T08:26:00+01:00")),
        case("iso_T_offset.csv"),
    ):
        assert moment(bought(open_dataset(source))[0].time) == "2010-12-01T07:26:00+00:00"


def test_another_encoding_is_refused_by_the_true_line_and_read_when_named(tmp_path: Path) -> None:
    body = [*lines(3_000), *lines(1, title=lambda _: "SET OF 3 £1 COINS")]
    for source, line in ((written(tmp_path, body, encoding="cp1252"), 3_002), (case("cp1252_pound.csv"), 27)):
        reason = refusal(source)
        assert f".csv:{line}: " in reason and "--encoding cp1252" in reason
        assert any("£" in title for title in all_titles(source))


def all_titles(source: str) -> set[str]:
    """Every description of a file, because a title is the most frequent one."""
    return {cells[2] for _, cells in rows(Table(Path(source), "cp1252"))}


def test_an_encoding_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    assert "encoding 'utf-9' is unknown" in refusal(written(tmp_path, lines(1)), encoding="utf-9")


def test_a_line_break_in_a_title_is_a_space(tmp_path: Path) -> None:
    dataset = open_dataset(written(tmp_path, lines(1, title=lambda _: '"ENAMEL\nMUG, ""RED"""')))
    assert titles(dataset) == {'ENAMEL MUG, "RED"'}


def test_a_bad_row_after_line_breaks_is_named_by_its_first_line(tmp_path: Path) -> None:
    body = [
        *lines(1, title=lambda _: '"A\nB"'),
        "",
        *lines(1, quantity=lambda _: "six", title=lambda _: '"A\nB"'),
    ]
    assert "export.csv:5: Quantity 'six'" in refusal(written(tmp_path, body))


def test_a_row_without_a_date_is_dropped_counted_and_named(tmp_path: Path) -> None:
    body = lines(3, date=lambda n: "" if n == 1 else LINE["date"])
    for source, line, left in ((written(tmp_path, body), 3, 2), (case("blank_date.csv"), 11, 29)):
        dataset = open_dataset(source)
        assert len(bought(dataset)) == left
        (drop,) = dataset.drops.lines()
        assert drop.startswith("dropped 1 row: no InvoiceDate (the first at ") and drop.endswith(
            f"csv:{line})"
        )


def test_an_export_that_grows_or_is_packed_keeps_its_ids(tmp_path: Path) -> None:
    body = lines(30, item=lambda n: f"item-{n % 7}", title=lambda n: f"MUG {n % 7}")
    first = bought(open_dataset(written(tmp_path, body)))
    grown = bought(open_dataset(written(tmp_path, [*body, *lines(1, item=lambda _: "new")])))
    packed = tmp_path / "export.csv.gz"
    packed.write_bytes(
        gzip.compress(("\n".join([HEADER, *body, *lines(1, item=lambda _: "new"), ""])).encode())
    )
    assert {purchase.event_id for purchase in first} < {purchase.event_id for purchase in grown}
    assert bought(open_dataset(str(packed))) == grown
    everything = first + grown + bought(open_dataset(str(packed)))
    assert len({purchase.event_id for purchase in everything}) == 31
