"""What foreign producers append: each record is read right, or refused with the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
import pytest

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.intake import interaction_of, item_of
from pipeline.eventlog.port import Record
from pipeline.events import Interaction, Item, ItemChange, decode, decode_item, encode, validate
from pipeline.state.stream import StreamState
from tests.support.build import learner_config
from tests.support.cases import case_file

APPENDED = 1_795_640_300_000
DUE = 1_795_640_207_000


class Sent(NamedTuple):
    topic: str
    key: str
    value: dict[str, Any]


def act(event_id: str, **changes: object) -> Sent:
    fields = {"user": "u1", "item": "A", "type": "view", "time": DUE, **changes}
    return Sent("interactions", "u1", {"v": 1, "kind": "interaction", "event_id": event_id, **fields})


def upsert(item: str, **fields: object) -> Sent:
    return Sent("items", item, {"v": 1, "kind": "item", "item": item, **fields})


CASES = [
    upsert("B", available=False),
    upsert("D", title="Red mug", price=3.5, brand="X"),
    act("n-int-item", item=5),
    act("iso", time="2026-11-25T20:00:00Z"),
    act("float-whole", time=float(DUE)),
    act("seconds", time=DUE // 1_000),
    act("micro", time=DUE * 1_000),
    act("upper", type="Purchase"),
    act("line-1"),
    act("line-1", item="C"),
]
Read = Item | ItemChange | Interaction | str | InvalidEvent


def read(sent: Sent) -> Read:
    record = Record(sent.topic, 0, 7, APPENDED, sent.key, orjson.dumps(sent.value))
    reader: Callable[[Record], Read] = item_of if sent.topic == "items" else interaction_of
    try:
        return reader(record)
    except InvalidEvent as error:
        return error


def check_answers(cases: list[Sent]) -> None:
    """Check the right answers to the ten cases, in their order."""
    hidden, attributes, number, iso, whole, seconds, micro, upper, first, second = map(read, cases)
    assert hidden == ItemChange(item="B", available=False)
    _check_refusal(attributes, RefusalReason.UNKNOWN_FIELD, "price", "leave it out, or put it")
    _check_refusal(number, RefusalReason.NUMERIC_ID, "item", "send it as a string")
    assert isinstance(iso, Interaction) and iso.time == 1_795_636_800_000
    assert isinstance(whole, Interaction) and (whole.time, type(whole.time)) == (DUE, int)
    _check_refusal(seconds, RefusalReason.TIME_UNIT, "time", "is in seconds, not milliseconds")
    _check_refusal(micro, RefusalReason.TIME_UNIT, "time", "is in microseconds, not milliseconds")
    _check_refusal(upper, RefusalReason.UNKNOWN_TYPE, "type", "the nearest is 'purchase'")
    assert isinstance(first, Interaction) and isinstance(second, Interaction)
    assert (first.event_id, first.item, second.item) == (second.event_id, "A", "C")


def _check_refusal(found: Read, code: RefusalReason, field: str, remedy: str) -> None:
    assert isinstance(found, InvalidEvent)
    assert (found.code, found.field) == (code, field)
    assert remedy in found.reason


def test_each_case_gets_its_right_answer() -> None:
    check_answers(CASES)


def test_the_cases_are_those_of_the_file() -> None:
    lines = map(orjson.loads, case_file("records.jsonl").read_text().splitlines())
    found = [Sent(line["topic"], line["key"], line["value"]) for line in lines]
    assert found == CASES
    check_answers(found)


def test_a_hidden_item_keeps_its_title_and_comes_back_with_it() -> None:
    stream = StreamState(learner_config().stream)
    (row,) = stream.ingest([Item(item="B", title="Blue mug", description="large", category="mugs")])
    stream.ingest([ItemChange(item="B", available=False)])
    entry = stream.catalogue.entries[row]
    assert entry == Item(item="B", title="Blue mug", description="large", category="mugs", available=False)
    assert not stream.catalogue.available(row)
    stream.ingest([ItemChange(item="B", available=True, category=None)])
    assert stream.catalogue.entries[row] == Item(item="B", title="Blue mug", description="large")


def test_a_change_of_a_removed_item_does_not_bring_it_back() -> None:
    stream = StreamState(learner_config().stream)
    (row,) = stream.ingest([Item(item="B", title="Blue mug"), "B"])
    stream.ingest([ItemChange(item="B", category="mugs")])
    assert not stream.catalogue.available(row)
    stream.ingest([ItemChange(item="B", available=True)])
    assert stream.catalogue.available(row)


@pytest.mark.parametrize(
    "change",
    [
        ItemChange(item="B", available=True),
        ItemChange(item="B", available=False),
        ItemChange(item="B", description="", time=0),
        ItemChange(item="B", category=None),
    ],
)
def test_a_change_survives_the_wire_with_the_fields_that_it_names(change: ItemChange) -> None:
    found = decode_item(encode(change))
    assert isinstance(found, ItemChange)
    assert (found, found.model_fields_set) == (change, change.model_fields_set)


def test_an_item_record_that_says_nothing_lacks_its_title() -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode_item(b'{"v":1,"kind":"item","item":"B"}')
    assert (caught.value.field, caught.value.code) == ("title", RefusalReason.MISSING_FIELD)


def test_a_misspelt_title_is_found_in_a_change() -> None:
    with pytest.raises(InvalidEvent, match="did you mean title"):
        decode_item(b'{"v":1,"kind":"item","item":"B","available":true,"Titel":"Blue mug"}')


def test_a_misspelt_title_of_an_item_is_named_beside_the_one_that_is_missing() -> None:
    with pytest.raises(InvalidEvent, match=r"Titel is unknown, did you mean title\?") as caught:
        decode_item(b'{"v":1,"kind":"item","item":"B","Titel":"Blue mug"}')
    assert (caught.value.field, caught.value.code) == ("title", RefusalReason.MISSING_FIELD)


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        ("2026-11-25T20:00:00Z", 1_795_636_800_000),
        ("2026-11-25t20:00:00z", 1_795_636_800_000),
        ("2026-11-25 20:00:00+00:00", 1_795_636_800_000),
        ("2026-11-25T21:00+0100", 1_795_636_800_000),
        ("2026-11-25T20:00:00.999999Z", 1_795_636_800_999),
        ("2026-11-25T20:00:00,123456789Z", 1_795_636_800_123),
        (0, 0),
        (5.0, 5),
        (828_124_615_000, 828_124_615_000),  # MovieLens begins in 1996
    ],
)
def test_an_unambiguous_time_is_read(time: object, milliseconds: int) -> None:
    event = validate(Interaction, {"event_id": "e", "user": "u", "item": "A", "type": "view", "time": time})
    assert (event.time, type(event.time)) == (milliseconds, int)


@pytest.mark.parametrize(
    ("time", "remedy"),
    [
        ("2026-11-25T20:00:00", "has no time zone"),
        ("2026-11-25", "ISO 8601 with a zone"),
        ("11/12/2026 08:00", "ISO 8601 with a zone"),
        ("2026-13-25T20:00:00Z", "no date of the calendar"),
        ("1795640207000", "send it without quotes"),
        (1_300_000_000_000_000, "microseconds"),
        (1_795_640_207_000_000_000, "nanoseconds"),
        (1_795_640_207_000.5, "whole number of milliseconds"),
        (1e300, "less than or equal to"),
    ],
)
def test_any_other_time_is_refused_with_its_unit_or_form(time: object, remedy: str) -> None:
    fields = {"event_id": "e", "user": "u", "item": "A", "type": "view", "time": time}
    with pytest.raises(InvalidEvent) as caught:
        validate(Interaction, fields)
    assert caught.value.field == "time"
    assert remedy in caught.value.reason


@pytest.mark.parametrize("time", [1_300_000_000, 828_124_615, 1_795_640_207.0, 100_000_000])
@pytest.mark.parametrize("sent", [act("seconds"), upsert("D", title="mug"), upsert("D", available=True)])
def test_seconds_are_refused_at_the_door_whatever_the_year(sent: Sent, time: float) -> None:
    found = read(sent._replace(value={**sent.value, "time": time}))
    _check_refusal(found, RefusalReason.TIME_UNIT, "time", "is in seconds, not milliseconds")


@pytest.mark.parametrize("field", ["event_id", "user", "item", "session", "impression"])
def test_a_numeric_id_is_refused_with_the_remedy_and_without_the_id(field: str) -> None:
    fields = {"event_id": "e", "user": "u", "item": "A", "type": "view", "time": DUE, field: 40_417}
    with pytest.raises(InvalidEvent, match="send it as a string") as caught:
        validate(Interaction, fields)
    assert (caught.value.field, caught.value.code) == (field, RefusalReason.NUMERIC_ID)
    assert "40417" not in str(caught.value)


@pytest.mark.parametrize(
    ("sent", "near"), [("userId", "user"), ("eventId", "event_id"), ("Session", "session")]
)
def test_an_unknown_field_of_an_interaction_is_refused_with_the_nearest(sent: str, near: str) -> None:
    fields = {"event_id": "e", "user": "u", "item": "A", "type": "view", "time": DUE, sent: "x"}
    with pytest.raises(InvalidEvent, match=f"did you mean {near}") as caught:
        decode(Interaction, orjson.dumps({"v": 1, "kind": "interaction", **fields}))
    assert "put it into context" in caught.value.reason


def test_a_type_that_is_near_none_gets_the_list_alone() -> None:
    fields = {"event_id": "e", "user": "u", "item": "A", "type": "q" * 60_000, "time": DUE}
    with pytest.raises(InvalidEvent, match="'view', 'click'") as caught:
        validate(Interaction, fields)
    assert "nearest" not in caught.value.reason
