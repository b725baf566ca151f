"""The intake decodes valid records; a dead letter names the source of a record and the reason."""

from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import dead_letter, interaction_of, item_of, user_of
from pipeline.eventlog.port import Record
from pipeline.events import MAX_TIME_AHEAD_MS, MAX_WIRE_BYTES, Item, User, encode
from tests.support.build import purchase

APPENDED = 1_700_000_000_000


def record(key: str | None, value: bytes | None, topic: str = "shop.interactions") -> Record:
    return Record(topic, 3, 77, APPENDED, key, value)


@pytest.mark.parametrize("ahead", [-(10**12), 0, MAX_TIME_AHEAD_MS])
def test_a_valid_interaction_is_accepted(ahead: int) -> None:
    event = purchase("ann", "cup", APPENDED + ahead)
    assert interaction_of(record("ann", encode(event))) == event


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("ann", None, "event"),
        ("ann", b"", "event"),
        ("ann", b"[]", "event"),
        ("ann", b"{" * 10_000, "event"),
        ("ann", b" " * (MAX_WIRE_BYTES + 1), "event"),
        ("ann", encode(Item(item="ann", title="")), "kind"),
        ("bob", encode(purchase("ann", "cup", 0)), "user"),
        (None, encode(purchase("ann", "cup", 0)), "user"),
        ("ann", encode(purchase("ann", "cup", APPENDED + MAX_TIME_AHEAD_MS + 1)), "time"),
    ],
)
def test_a_record_that_is_no_interaction_is_refused(key: str | None, value: bytes | None, field: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        interaction_of(record(key, value))
    assert caught.value.field == field


def test_an_item_is_an_upsert_or_a_tombstone() -> None:
    item = Item(item="cup", title="a cup")
    assert item_of(record("cup", encode(item))) == item
    assert item_of(record("cup", None)) == "cup"


@pytest.mark.parametrize("key", ["plate", "", None])
def test_an_item_under_another_key_is_refused(key: str | None) -> None:
    with pytest.raises(InvalidEvent):
        item_of(record(key, encode(Item(item="cup", title=""))))


def test_a_user_is_an_upsert_or_a_tombstone() -> None:
    user = User(user="ann", attributes={"tier": "gold"})
    assert user_of(record("ann", encode(user))) == user
    assert user_of(record("ann", None)) == "ann"


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("bob", encode(User(user="ann")), "user"),
        (None, encode(User(user="ann")), "user"),
        ("ann", b"{}", "v"),
        ("ann", encode(Item(item="ann", title="")), "kind"),
        ("ann", encode(User(user="ann", time=APPENDED // 1_000)), "time"),
    ],
)
def test_a_record_that_is_no_user_is_refused(key: str | None, value: bytes, field: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        user_of(record(key, value))
    assert caught.value.field == field


@given(value=st.none() | st.binary(max_size=300), reason=st.text(max_size=50))
def test_a_dead_letter_holds_the_value_its_source_and_the_reason(value: bytes | None, reason: str) -> None:
    key, wire = dead_letter(record("ann", value), InvalidEvent("user", reason))
    letter = orjson.loads(wire)
    assert key == "shop.interactions/3/77"
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("shop.interactions", 3, 77)
    assert (letter["append_time"], letter["field"], letter["reason"]) == (APPENDED, "user", reason)
    assert base64.b64decode(letter["value"]) == (value or b"")
    assert letter["size"] == len(value or b"")


def test_a_dead_letter_of_a_large_record_fits_into_a_record() -> None:
    _, wire = dead_letter(record("ann", b"x" * 900_000), InvalidEvent("event", "too large"))
    letter = orjson.loads(wire)
    assert letter["size"] == 900_000
    assert len(base64.b64decode(letter["value"])) == MAX_WIRE_BYTES
    assert len(wire) < 200_000
