"""A mapping makes the same events of the same rows, whatever the format, and counts what it leaves out."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.datasets import MappedDataset, cells, mapped, open_dataset
from pipeline.datasets.mapping import Mapping, load_mapping, to_toml
from pipeline.datasets.ordering import TimeOrder
from pipeline.datasets.row_reader import Act
from pipeline.errors import DatasetError
from pipeline.events import Event, Interaction, InteractionType, Item, User
from tests.support.recorded import Row, as_csv, as_jsonl, as_parquet, pyarrow

CONTENT = {
    "name": "my-shop",
    "interactions": {
        "user": "who",
        "item": "sku",
        "type": "what",
        "time": "when",
        "value": "amount",
        "session": "visit",
        "context": {"channel": "channel"},
    },
    "types": {"addtocart": "cart", "buy": "purchase"},
    "items": {
        "item": "sku",
        "title": "name",
        "category": "group",
        "attributes": {
            "price": {"column": "price", "kind": "number"},
            "tags": {"column": "tags", "split": "|"},
        },
    },
}
COLUMNS = ("who", "sku", "what", "when", "amount", "visit", "channel", "name", "group", "price", "tags")
BASE = {"who": "u1", "sku": "i1", "what": "buy", "when": 1_700_000_000_000, "amount": 1.5}


def mapping(**changes: Any) -> Mapping:
    return Mapping.model_validate({**CONTENT, "time": {"format": "ms"}, **changes})


def events(source: Path, how: Mapping) -> list[Event]:
    return list(MappedDataset(source, how).events())


def acts(found: Sequence[Event]) -> list[Interaction]:
    return [event for event in found if isinstance(event, Interaction)]


LATIN = st.text(st.characters(codec="cp1252", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12)
IDS = LATIN.map(lambda text: "x" + text)
NUMBERS = st.none() | st.floats(-1e6, 1e6).map(lambda number: round(number, 4))
ROWS = st.fixed_dictionaries(
    {
        "who": IDS | st.none(),
        "sku": IDS,
        "what": st.sampled_from(["addtocart", "buy", "view", "PURCHASE", "odd"]),
        "when": st.integers(10**12, 2 * 10**12),
        "amount": NUMBERS,
        "visit": IDS | st.none(),
        "channel": st.none() | IDS,
        "name": LATIN | st.none(),
        "group": LATIN | st.none(),
        "price": NUMBERS,
        "tags": st.none() | st.lists(st.sampled_from(["new", "red", "café"]), min_size=1, max_size=3),
    }
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(rows=st.lists(ROWS, min_size=1, max_size=12))
def test_the_same_rows_in_any_format_are_the_same_events(scratch: Path, rows: list[Row]) -> None:
    semicolons = {"delimiter": ";", "encoding": "cp1252", "decimal": ","}
    table = as_csv(
        scratch / "rows.csv",
        rows,
        lambda number: f"{number:.6f}".replace(".", ","),
        delimiter=";",
        encoding="cp1252",
    )
    found = events(table, mapping(layout=semicolons))
    assert events(as_jsonl(scratch / "rows.jsonl", rows), mapping()) == found
    assert events(as_parquet(scratch / "rows.parquet", rows), mapping()) == found
    known = [row for row in rows if row["who"] and row["what"] != "odd"]
    assert len(acts(found)) == len(known)


def test_a_row_becomes_an_item_and_an_act(tmp_path: Path) -> None:
    row = {
        **BASE,
        "visit": "s",
        "channel": "app",
        "name": "Mug",
        "group": "cups",
        "price": 2.5,
        "tags": ["a", "b"],
    }
    item, act = events(as_jsonl(tmp_path / "rows.jsonl", [row]), mapping())
    assert isinstance(item, Item) and isinstance(act, Interaction)
    assert (item.title, item.category, item.time) == ("Mug", "cups", 1_700_000_000_000)
    assert item.attributes == {"price": 2.5, "tags": ("a", "b")}
    assert (act.user, act.type, act.value, act.session) == ("u1", InteractionType.PURCHASE, 1.5, "s")
    assert act.context == {"channel": "app"}


def simple(**changes: Any) -> Mapping:
    """A mapping of `BASE`, without items."""
    interactions = {key: CONTENT["interactions"][key] for key in ("user", "item", "type", "time", "value")}  # type: ignore[index]
    return mapping(**{"interactions": interactions, "items": None, **changes})


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_an_export_that_grows_or_is_packed_keeps_its_ids(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    rows = [{**BASE, "sku": f"i{number % 7}"} for number in range(30)]
    first = acts(events(as_csv(tmp_path / "a.csv", rows), simple()))
    table = as_csv(tmp_path / "b.csv", [*rows, {**BASE, "sku": "new"}]).read_bytes()
    ending = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz"}[pack]
    packed = tmp_path / f"b.csv.{ending}"
    packed.write_bytes(pack(table))
    grown = acts(events(packed, simple()))
    assert {act.event_id for act in first} < {act.event_id for act in grown}
    assert len({act.event_id for act in grown}) == 31


def test_files_of_a_folder_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        as_jsonl(tmp_path / f"part-{number}.jsonl", [{**BASE, "sku": f"i{number}"}])
    for name in ("readme.md", "README.txt"):
        (tmp_path / name).write_text("no data")
    assert [act.item for act in acts(events(tmp_path, simple()))] == ["i1", "i9", "i10"]


def test_a_dotted_path_leads_into_an_object(tmp_path: Path) -> None:
    row = {**BASE, "who": {"id": 7, "name": "A"}}
    interactions = {**CONTENT["interactions"], "user": "who.id"}  # type: ignore[dict-item]
    source = as_jsonl(tmp_path / "rows.jsonl", [row])
    assert acts(events(source, simple(interactions=interactions)))[0].user == "7"
    with pytest.raises(DatasetError, match="name one of its parts"):
        events(source, simple())


@pytest.mark.parametrize("column", ["who", "sku"])
def test_ids_of_more_digits_than_a_number_keeps_are_refused_and_become_no_other(
    tmp_path: Path, column: str
) -> None:
    exact = [{**BASE, column: 2**64 - 1}, {**BASE, column: str(2**70)}, {**BASE, column: 15.0}]
    found = acts(events(as_jsonl(tmp_path / "exact.jsonl", exact), simple()))
    ids = [act.user if column == "who" else act.item for act in found]
    assert sorted(ids) == sorted([str(2**64 - 1), str(2**70), "15"])
    source = tmp_path / "rows.jsonl"
    source.write_bytes(as_jsonl(source, [BASE]).read_bytes() + orjson.dumps({**BASE, column: 0}))
    source.write_text(source.read_text().replace(f'"{column}":0', f'"{column}":{10**23}'))
    with pytest.raises(DatasetError, match=rf"rows.jsonl:2.*{column}.*too many digits.*write it as text"):
        events(source, simple())


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("22423.0", "22423"),
        ("22423.00", "22423"),
        ("-1.0", "-1"),
        ("007.0", "007"),
        ("2.50", "2.50"),
        ("1234567890.1612345678", "1234567890.1612345678"),
        ("A.0", "A.0"),
        ("1E5", "1E5"),
    ],
)
def test_ids_of_users_and_items_are_read_alike(tmp_path: Path, written: str, known: str) -> None:
    interactions = {**CONTENT["interactions"], "event_id": "id"}  # type: ignore[dict-item]
    row = {**BASE, "channel": "", "who": written, "sku": written, "visit": written, "id": written}
    described = {"item": "sku", "title": "name"}
    users = {"user": "who", "attributes": {"channel": {"column": "channel", "default": "web"}}}
    how = mapping(interactions=interactions, items=described, users=users)
    item, user, act = events(as_csv(tmp_path / "rows.csv", [{**row, "name": "Mug"}]), how)
    assert isinstance(item, Item) and isinstance(user, User) and isinstance(act, Interaction)
    assert {item.item, user.user, act.user, act.item, act.session, act.event_id} == {known}


@pytest.mark.parametrize("column", ["who", "sku"])
@pytest.mark.parametrize(
    ("found", "reason"),
    [("8.50001E+11", "is a number of too many digits"), (22423.5, "is a number with a fraction")],
)
def test_an_id_that_was_rounded_as_a_number_is_refused(
    tmp_path: Path, column: str, found: str | float, reason: str
) -> None:
    source = as_jsonl(tmp_path / "rows.jsonl", [{**BASE, column: found}])
    with pytest.raises(DatasetError, match=rf"rows.jsonl:1: {column} {reason}.*: write") as caught:
        events(source, simple())
    assert str(found) not in str(caught.value)


def test_constants_and_defaults(tmp_path: Path) -> None:
    source = as_jsonl(tmp_path / "rows.jsonl", [{"u": 1, "i": 2, "n": None}, {"u": 1, "i": 2, "n": 3}])
    interactions = {
        "user": "u",
        "item": "i",
        "type": {"default": "view"},
        "value": {"column": "n", "default": 1},
    }
    found = acts(events(source, mapping(interactions=interactions, items=None, time={})))
    assert [(act.type, act.value) for act in found] == [("view", 1.0), ("view", 3.0)]
    assert [act.time for act in found] == [946_684_800_000, 946_684_801_000]


@pytest.mark.parametrize(
    ("written", "form", "moment"),
    [
        ("1700000000", {"format": "s"}, 1_700_000_000_000),
        ("1700000000.5", {"format": "s"}, 1_700_000_000_500),
        ("1700000000123", {"format": "ms"}, 1_700_000_000_123),
        ("1700000000123456", {"format": "us"}, 1_700_000_000_123),
        ("1700000000123456789", {"format": "ns"}, 1_700_000_000_123),
        ("2023-11-14T22:13:20Z", {}, 1_700_000_000_000),
        ("2023-11-14 23:13:20", {"zone": "Europe/Berlin"}, 1_700_000_000_000),
        ("2023-11-14T22:13:20+00:00", {"zone": "Europe/Berlin"}, 1_700_000_000_000),
        ("14.11.2023 23:13", {"format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"}, 1_699_999_980_000),
        ("14/11/2023 23:13:20", {"zone": "Europe/Berlin"}, 1_700_000_000_000),
        ("45244.5", {"format": "excel", "zone": "Europe/Berlin"}, 1_699_959_600_000),
    ],
)
def test_times_are_read_in_their_form_and_zone(
    tmp_path: Path, written: str, form: dict[str, str], moment: int
) -> None:
    source = as_csv(tmp_path / "rows.csv", [{**BASE, "when": written}])
    assert acts(events(source, simple(time=form)))[0].time == moment


def test_a_parquet_timestamp_needs_no_form(tmp_path: Path) -> None:
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    for when in (moment, moment.replace(tzinfo=None)):
        source = as_parquet(tmp_path / "rows.parquet", [{**BASE, "when": when}])
        assert acts(events(source, simple(time={})))[0].time == 1_700_000_000_000


@pytest.mark.parametrize(
    ("changes", "form", "reason"),
    [
        ({"when": "1700000000"}, "ms", "when '1700000000' is in seconds, not milliseconds: say format = 's'"),
        ({"when": "1700000000000"}, "s", "is after the year 3000 in s: say another"),
        ({"when": "soon"}, "s", "when 'soon' is no number of s since 1970"),
        ({"when": "2023"}, "%d.%m.%Y", "when '2023' is not of the form '%d.%m.%Y'"),
        ({"amount": "much"}, "ms", "amount 'much' is not a finite number"),
        ({"amount": "1,500"}, "ms", "amount '1,500' may be a decimal comma or thousands"),
        ({"sku": "x" * 129}, "ms", "item: String should have at most 128 characters"),
    ],
)
def test_a_row_that_cannot_be_read_is_refused_or_dropped(
    tmp_path: Path, changes: Row, form: str, reason: str
) -> None:
    source = as_csv(tmp_path / "rows.csv", [{**BASE, **changes}])
    with pytest.raises(DatasetError) as caught:
        events(source, simple(time={"format": form}))
    assert reason in str(caught.value) and "rows.csv:2: " in str(caught.value)
    dataset = MappedDataset(source, simple(time={"format": form}, invalid="drop"))
    assert list(dataset.events()) == []
    (counted,) = dataset.drops.counts.values()
    assert counted == 1 and "rows.csv:2)" in dataset.drops.lines()[0]


def test_what_is_dropped_is_counted_by_reason(tmp_path: Path) -> None:
    gaps: list[Row] = [
        {"who": None},
        {"sku": ""},
        {"when": None},
        {"what": "odd"},
        {"amount": 0},
        {"what": "test"},
    ]
    rules = [
        {"column": "amount", "up_to": 0, "reason": "nothing was bought"},
        {"column": "what", "matches": "te?st", "reason": "a test"},
    ]
    source = as_jsonl(tmp_path / "rows.jsonl", [{**BASE, **gap} for gap in gaps])
    dataset = MappedDataset(source, simple(drop=rules))
    assert list(dataset.events()) == []
    reasons = [
        "no who",
        "no sku",
        "no when",
        "what is no type that [types] names",
        "nothing was bought",
        "a test",
    ]
    assert dataset.drops.counts == dict.fromkeys(reasons, 1)


def test_sorted_rows_are_streamed_and_checked(tmp_path: Path) -> None:
    rows = [
        {**BASE, "when": 1_700_000_000_000 + step, "sku": f"i{step}", "name": "Mug"} for step in (0, 1, 1)
    ]
    how = mapping(layout={"sorted": True})
    found = events(as_jsonl(tmp_path / "rows.jsonl", rows), how)
    assert [type(event) for event in found] == [Item, Interaction, Item, Interaction, Interaction]
    assert acts(found) == acts(events(tmp_path / "rows.jsonl", mapping()))
    with pytest.raises(DatasetError, match=r"rows\.jsonl:3: its time is before that of an earlier row"):
        events(as_jsonl(tmp_path / "rows.jsonl", rows[1:] + rows[:1]), how)


def test_acts_that_do_not_fit_in_memory_are_sorted_on_disk() -> None:
    made = [
        Act(time % 7, number, 0, f"place {number}", {"n": number}) for number, time in enumerate(range(50))
    ]
    with TimeOrder(most=8) as order:
        for act in made:
            order.add(act)
        assert list(order.sorted()) == sorted(made, key=lambda act: (act.time, act.number))


def test_items_have_a_file_of_their_own(tmp_path: Path) -> None:
    as_csv(tmp_path / "acts.csv", [{**BASE, "sku": "a"}])
    as_csv(
        tmp_path / "goods.tsv", [{"id": "a", "name": "Mug"}, {"id": "", "name": "?"}, {"id": "b", "name": ""}]
    )
    items = {"item": "id", "title": "name", "layout": {"files": "goods.tsv"}}
    dataset = MappedDataset(tmp_path, simple(layout={"files": "acts.csv"}, items=items))
    found = list(dataset.events())
    assert [(item.item, item.title) for item in found if isinstance(item, Item)] == [("a", "Mug"), ("b", "b")]
    assert dataset.drops.counts == {"an item without id": 1}
    assert MappedDataset(tmp_path / "acts.csv", simple(items=items)).name == "my-shop"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[interactions", "is not TOML"),
        ("[interactions]\nuser = 'u'\nitem = 'i'", "interactions.type: is missing"),
        (
            "[interactions]\nuser = 'u'\nitem = 'i'\ntype = 't'\nprice = 'p'",
            "interactions.price: is unknown",
        ),
        ("[interactions]\nuser = {}\nitem = 'i'\ntype = 't'", "name a column, a default, or both"),
        (
            "[interactions]\nuser = 'u'\nitem = 'i'\ntype = 't'\n[time]\nformat = 'soon'",
            "write s, ms, us, ns",
        ),
        (
            "[interactions]\nuser = 'u'\nitem = 'i'\ntype = 't'\n[time]\nzone = 'Mars'",
            "no time zone is called",
        ),
        (
            "[interactions]\nuser = 'u'\nitem = 'i'\ntype = 't'\n[types]\nx = 'y'",
            "types.x: must be 'view'",
        ),
        (
            "[[drop]]\ncolumn = 'i'\nmatches = '('\nreason = 'x'",
            "drop.0.matches: is no regular expression: missing ), unterminated",
        ),
    ],
)
def test_a_wrong_mapping_is_refused_by_its_key(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(text)
    with pytest.raises(DatasetError) as caught:
        load_mapping(path)
    assert reason in str(caught.value)


def test_a_mapping_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        load_mapping(tmp_path / "mapping.toml")


def test_a_mapping_written_as_toml_is_the_same(tmp_path: Path) -> None:
    rules = [{"column": ["amount", "n"], "up_to": 0, "reason": 'of "none"'}]
    made = mapping(
        drop=rules, types={"add to cart": "cart"}, layout={"delimiter": "\t", "encoding": "cp1252"}
    )
    path = tmp_path / "mapping.toml"
    path.write_text(to_toml(made))
    assert load_mapping(path) == made
    assert 'user = "who"' in path.read_text()


def test_a_data_set_is_opened_by_a_mapping(tmp_path: Path) -> None:
    source, path = as_csv(tmp_path / "rows.csv", [BASE]), tmp_path / "mapping.toml"
    path.write_text(to_toml(simple()))
    dataset = open_dataset(str(source), mapping=path)
    assert dataset.name == "my-shop"
    assert len(acts(list(dataset.events()))) == 1
    as_csv(source, [{"who": 1, "sku": 2}])
    with pytest.raises(
        DatasetError, match=r"rows\.csv:1: the columns must be who,sku,what,when,amount: what is not"
    ):
        list(dataset.events())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.jsonl", b'{"who": 1\n', r"rows\.jsonl:1: not JSON"),
        ("rows.jsonl", b"[1]\n", r"rows\.jsonl:1: is no JSON object"),
        ("rows.jsonl.gz", b"no archive", r"rows\.jsonl\.gz:1: not readable"),
        ("rows.csv.xz", b"no archive", r"rows\.csv\.xz:1: not readable as csv"),
        ("rows.parquet", b"no parquet", r"rows\.parquet:1: not readable as Parquet"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    if name.endswith("parquet"):
        pyarrow()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        events(tmp_path / name, simple())


@pytest.mark.parametrize(
    ("cell", "available"),
    [(True, True), ("No", False), (0, False), ("12", True), ("0", False), (None, True), ("", True)],
)
def test_available_is_a_flag_or_a_number_of_pieces(tmp_path: Path, cell: object, available: bool) -> None:
    items = {"item": "sku", "title": "name", "available": "stock"}
    item, _ = events(as_jsonl(tmp_path / "rows.jsonl", [{**BASE, "stock": cell}]), mapping(items=items))
    assert isinstance(item, Item) and item.available is available


def test_a_number_is_scaled(tmp_path: Path) -> None:
    interactions = {**CONTENT["interactions"], "value": {"column": "cents", "scale": 0.01}}  # type: ignore[dict-item]
    (act,) = acts(
        events(
            as_jsonl(tmp_path / "rows.jsonl", [{**BASE, "cents": 1250}]), mapping(interactions=interactions)
        )
    )
    assert act.value == 12.5


def test_a_mapping_of_items_alone_plays_nothing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no table \\[interactions\\]"):
        events(as_jsonl(tmp_path / "rows.jsonl", [BASE]), mapping(interactions=None))
    with pytest.raises(ValueError, match="write a table"):
        mapping(interactions=None, items=None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"when": "1e999999999"}, "when '1e999999999' is no number of ms since 1970"),
        ({"tags": [{"a": 1}]}, "tags is neither text nor number"),
        ({"name": [[[1]]]}, "name is a list of lists"),
        ({"stock": "many"}, "stock 'many' is neither yes nor no, nor a number of pieces"),
    ],
)
def test_a_hostile_cell_is_named(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    items = {**CONTENT["items"], "available": "stock"}  # type: ignore[dict-item]
    with pytest.raises(DatasetError, match=reason):
        events(as_jsonl(tmp_path / "rows.jsonl", [{**BASE, **changes}]), mapping(items=items))


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [
        ("1.234,5", ",", 1234.5),
        ("-1.000.000,25", ",", -1_000_000.25),
        ("12,5", ",", 12.5),
        ("7", ",", 7.0),
        ("1,234.5", ".", 1234.5),
        ("1e5", ".", 1e5),
        *((text, ",", None) for text in ("3.5", "3.50", "1.2.3", "12.34,5", "1,5.5", "1234.567")),
        *((text, ".", None) for text in ("3,5", "1,2,3", "12,34.5")),
    ],
)
def test_a_sign_divides_thousands_or_the_number_is_refused(
    text: str, decimal: Literal[".", ","], expected: float | None
) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="divides no thousands|finite"):
            cells.number(text, decimal)
    else:
        assert cells.number(text, decimal) == expected


@pytest.mark.parametrize(("text", "sign"), [("1.299,50", ","), ("1,299.50", "."), ("1.000.000", ",")])
def test_thousands_are_refused_with_the_setting_that_reads_them(text: str, sign: str) -> None:
    with pytest.raises(ValueError, match=f"divides thousands: say decimal = '{re.escape(sign)}'"):
        cells.number(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1774728120", "is a number: say what it counts"),
        ("1774728120123", "write all times in one way"),
        ("10:30:00", "is a time without a date: write both into one column"),
        ("20231114103000", "is no date"),
    ],
)
def test_a_time_that_is_no_date_is_refused_with_what_mends_it(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        cells.moment(text, None, UTC)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("5 stars", "write the number alone"),
        ("5/5", "write the number alone"),
        ("$12", "write the number alone"),
        ("good", "the type of act with its words in [types]"),
        ("★★★", "write it in digits"),
    ],
)
def test_what_is_no_number_is_refused_with_what_mends_it(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=f"is not a finite number: .*{re.escape(remedy)}"):
        cells.number(text)


@pytest.mark.parametrize(
    ("text", "form", "names_zone"),
    [
        ("2024-01-01 10:00:00 CET", None, True),
        ("2024-01-01 10:00 Europe/Berlin", None, True),
        ("Mon Jan 01 10:00:00 EST 2024", "%a %b %d %H:%M:%S %Y", True),
        ("Mon, 01 Jan 2024 10:00:00 GMT", None, True),
        ("2024-01-01 10:00 PM", None, False),
        ("soon", "%Y", False),
    ],
)
def test_a_time_with_the_name_of_its_zone_is_refused_with_what_reads_it(
    text: str, form: str | None, names_zone: bool
) -> None:
    with pytest.raises(ValueError, match="is no|names its zone") as caught:
        cells.moment(text, form, UTC)
    assert (cells.NAMES_ZONE in str(caught.value)) == names_zone


def test_the_remedies_for_words_and_zones_read_them(tmp_path: Path) -> None:
    assert cells.moment("2024-07-01 10:00:00 CET", "%Y-%m-%d %H:%M:%S CET", ZoneInfo("Europe/Paris")) == (
        cells.moment("2024-07-01T10:00:00+02:00", None, UTC)
    )
    how = simple(types={"good": "like", "bad": "dislike"})
    rows = [{**BASE, "what": "good"}, {**BASE, "what": "bad"}]
    found = acts(events(as_csv(tmp_path / "rows.csv", rows), how))
    assert [act.type for act in found] == [InteractionType.LIKE, InteractionType.DISLIKE]


RAGGED = {
    "rows.csv": "who,sku,when\nu1,i1,1700000000000\nu1,i1\nu2,i2,17,and,more\nu2,i1,1700000000002\n",
    "rows.jsonl": '{"who": "u1", "sku": "i1", "when": 1700000000000}\n{"who": "u1", "sku"\n[1]\n'
    '{"who": "u2", "sku": "i1", "when": 1700000000002}\n',
}
REASONS = {
    "rows.csv": ["2 columns instead of 3", "5 columns instead of 3"],
    "rows.jsonl": ["not JSON", "is no JSON object: each line must be one"],
}


@pytest.mark.parametrize("name", RAGGED)
def test_a_row_without_the_right_cells_ends_the_reading_or_is_left_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(RAGGED[name], encoding="utf-8")
    sources = {"user": "who", "item": "sku", "time": "when", "type": {"default": "view"}}
    how = {"interactions": sources, "items": None, "types": {}}
    with pytest.raises(DatasetError, match=rf"{name}:\d: {REASONS[name][0]}"):
        events(path, mapping(**how))
    dataset = MappedDataset(path, mapping(**how, invalid="drop"))
    assert [act.user for act in acts(list(dataset.events()))] == ["u1", "u2"]
    assert dataset.drops.counts == dict.fromkeys(REASONS[name], 1)


def test_a_row_that_is_left_out_is_counted_once_where_dates_are_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("who,sku,when\nu1,i1\nu1,i1,01/12/2023\nu2,i1,13/12/2023\n", encoding="utf-8")
    sources = {"user": "who", "item": "sku", "time": "when", "type": {"default": "view"}}
    dataset = MappedDataset(path, mapping(interactions=sources, items=None, time={}, invalid="drop"))
    assert len(list(dataset.events())) == 2
    assert dataset.drops.counts == {"2 columns instead of 3": 1}


@pytest.mark.parametrize(
    ("time", "fault"),
    [("1969-12-31", "is before 1970"), ("9999-12-31", "is after the year 3000"), (-1, "is a number")],
)
def test_a_time_that_no_event_can_have_takes_no_item_with_it(
    tmp_path: Path, time: str | int, fault: str
) -> None:
    rows = [{**BASE, "when": "2024-01-01", "name": "Mug"}, {**BASE, "sku": "i2", "when": time}]
    path = as_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DatasetError, match=f"jsonl:2: when '{time}' {fault}"):
        events(path, mapping(time={}))
    dataset = MappedDataset(path, mapping(time={}, invalid="drop"))
    assert [type(event) for event in dataset.events()] == [Item, Interaction]
    assert [*dataset.drops.counts.values()] == [1]


@pytest.mark.parametrize("missing", ["NULL", "nan", "undefined", "\\N", "N/A", None])
def test_what_programs_write_for_a_missing_value_is_no_id_and_no_time(
    tmp_path: Path, missing: str | None
) -> None:
    rows = [
        {**BASE, "visit": "s1", "id": "e1", "channel": "", name: missing}
        for name in ("sku", "when", "visit", "id")
    ]
    sources = {**CONTENT["interactions"], "event_id": "id"}  # type: ignore[dict-item]
    dataset = MappedDataset(as_csv(tmp_path / "rows.csv", rows), mapping(interactions=sources, items=None))
    found = acts(list(dataset.events()))
    assert [(act.session, act.event_id.endswith("-1")) for act in found] == [(None, False), ("s1", True)]
    assert dataset.drops.counts == {"no sku": 1, "no when": 1}


def test_a_number_that_is_none_is_no_id_and_no_time(tmp_path: Path) -> None:
    rows = [{"who": 1.0, "sku": 2.0, "when": 1.7e12}, {"sku": 2.0, "who": 1.0}, {"who": 1.0, "when": 1.7e12}]
    filled = [{**dict.fromkeys(("who", "sku", "when"), float("nan")), **row} for row in rows]
    sources = {"user": "who", "item": "sku", "time": "when", "type": {"default": "view"}}
    dataset = MappedDataset(
        as_parquet(tmp_path / "a.parquet", filled), mapping(interactions=sources, items=None)
    )
    assert [(act.user, act.item) for act in acts(list(dataset.events()))] == [("1", "2")]
    assert dataset.drops.counts == {"no sku": 1, "no when": 1}


def test_the_latest_row_by_its_time_describes_item_and_user(tmp_path: Path) -> None:
    rows = [
        {**BASE, "price": price, "tier": tier, "when": when}
        for price, tier, when in ((3, "gold", 1_700_000_000_003), (1, "bronze", 1_700_000_000_001))
    ]
    users = {"user": "who", "attributes": {"tier": "tier"}}
    without_act = {**rows[0], "who": "", "price": 9}
    path = as_jsonl(tmp_path / "rows.jsonl", [*rows, without_act])
    item, user, *_ = events(path, mapping(users=users))
    assert isinstance(item, Item) and isinstance(user, User)
    assert (item.attributes["price"], user.attributes["tier"]) == (3.0, "gold")


def test_acts_of_a_user_with_one_id_are_one_act_as_for_a_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "REMEMBERED_IDS", 2)
    ids = [("u1", "e1"), ("u1", "e1"), ("u2", "e1"), ("u1", "e2"), ("u1", "e1"), ("u1", "e3"), ("u1", "e1")]
    rows = [{**BASE, "id": id_, "who": who, "when": BASE["when"] + n} for n, (who, id_) in enumerate(ids)]  # type: ignore[operator]
    sources = {"user": "who", "item": "sku", "time": "when", "type": {"default": "view"}, "event_id": "id"}
    dataset = MappedDataset(as_jsonl(tmp_path / "a.jsonl", rows), mapping(interactions=sources, items=None))
    found = [(act.user, act.event_id) for act in acts(list(dataset.events()))]
    assert found == [("u1", "e1"), ("u2", "e1"), ("u1", "e2"), ("u1", "e3"), ("u1", "e1")]
    assert dataset.drops.counts == {mapped.REPEATED: 2}
