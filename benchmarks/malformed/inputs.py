"""Seeded inputs, well-formed and malformed: events for gateway and topics, and rows for files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Literal, NamedTuple

import orjson

from pipeline.events import MAX_WIRE_BYTES, InteractionType

Door = Literal["gateway", "topics"]
Kind = Literal["interactions", "items"]
Fields = dict[str, Any]
Spoil = Callable[[Random, Fields], bytes]
"""Makes a malformed wire form of the fields of a well-formed event."""

SHARE_MALFORMED = 2 / 3
USERS, ITEMS = 500, 200
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
NAMES = ("ann", "Jörg", "雪", "a b", "o'neil", "x" * 100, "🙂", "<b>", "%2F", "a/b", "..", "null", "0")
"""What users are called, besides a number: all of it is allowed."""
DEEP = 2_000
"""Levels of nesting; the parser stops at 1,024."""


class Input(NamedTuple):
    """One input.

    Attributes:
        topic: to which it belongs.
        key: of its record; gateways make their own.
        wire: the value of its record; None is a record without a value.
        fault: what is wrong with it; empty for a well-formed one.
        name: event id or item of a well-formed one.
    """

    topic: Kind
    key: str | None
    wire: bytes | None
    fault: str
    name: str


def input_of(seed: int, door: Door, number: int, now: int) -> Input:
    """Make an input; the same for the same arguments."""
    random = Random(f"{seed}/{door}/{number}")
    is_item = random.random() < 0.2
    name = f"{door}-{number}"
    fields = _item(random, name) if is_item else _interaction(random, name, now)
    topic: Kind = "items" if is_item else "interactions"
    key = str(fields["item" if is_item else "user"])
    if random.random() > SHARE_MALFORMED:
        return Input(topic, key, orjson.dumps(fields), "", fields["item"] if is_item else name)
    if door == "topics" and random.random() < 0.1:
        return _spoiled_record(random, topic, key, fields)
    faults = _faults(door, is_item)
    fault = random.choice(list(faults))
    return Input(topic, key, faults[fault](random, fields), fault, "")


def _interaction(random: Random, name: str, now: int) -> Fields:
    fields: Fields = {
        "v": random.choice((1, 2)),
        "kind": "interaction",
        "event_id": name,
        "user": f"{random.choice(NAMES)}-{random.randrange(USERS)}",
        "item": f"item-{random.randrange(ITEMS)}",
        "type": str(random.choice(list(InteractionType))),
        "time": now - random.randrange(HOUR_MS),
    }
    extras = {"value": 4.5, "session": "s", "context": {"channel": "web", "n": 1, "ok": True}}
    return {**fields, **{key: value for key, value in extras.items() if random.random() < 0.3}}


def _item(random: Random, name: str) -> Fields:
    """A new item, or a change of one of the first catalogue."""
    head: Fields = {"v": 2, "kind": "item"}
    if random.random() < 0.3:
        return {**head, "item": f"item-{random.randrange(ITEMS)}", "category": "changed"}
    attributes = {"brand": "Ember", "tags": ["a", "b"], "price": 1.5}
    return {**head, "item": f"new-{name}", "title": "A mug, größer 🙂", "attributes": attributes}


def _spoiled_record(
    random: Random, topic: Literal["interactions", "items"], key: str, fields: Fields
) -> Input:
    """A record whose key or value is at fault."""
    wire = orjson.dumps(fields)
    if topic == "interactions" and random.random() < 0.5:
        return Input(topic, key, None, "no value", "")
    if topic == "interactions" and random.random() < 0.5:
        return Input(topic, None, wire, "no key", "")
    return Input(topic, f"{key}-other", wire, "other key", "")


def _faults(door: Door, is_item: bool) -> Mapping[str, Spoil]:
    of_kind = ITEM_FAULTS if is_item else INTERACTION_FAULTS
    return {**ANY_FAULTS, **of_kind, **(TOPIC_FAULTS if door == "topics" else {})}


def _set(**choices: tuple[object, ...]) -> Spoil:
    """Set one of the fields to one of its wrong values."""

    def spoil(random: Random, fields: Fields) -> bytes:
        field = random.choice(list(choices))
        return orjson.dumps({**fields, field: random.choice(choices[field])})

    return spoil


def _without(*names: str) -> Spoil:
    def spoil(random: Random, fields: Fields) -> bytes:
        gone = random.choice(names)
        return orjson.dumps({name: value for name, value in fields.items() if name != gone})

    return spoil


def _cut_off(random: Random, fields: Fields) -> bytes:
    wire = orjson.dumps(fields)
    return wire[: random.randrange(1, len(wire))]


def _raw(value: bytes) -> Spoil:
    """Put bytes that are no JSON in the place of the item."""
    return lambda _, fields: orjson.dumps(fields | {"item": "?"}).replace(b'"?"', value)


ANY_FAULTS: Mapping[str, Spoil] = {
    "cut off": _cut_off,
    "no JSON value": _raw(b"NaN"),
    "no UTF-8": _raw(b'"\xff\xfe"'),
    "no object": lambda random, _: random.choice((b"[]", b"5", b'"text"', b"null", b"[{}]", b"hello")),
    "nested too deep": lambda random, _: b'{"v":' * DEEP + b"2" + b"}" * DEEP,
    "too large": lambda random, fields: orjson.dumps({**fields, "item": "x" * (MAX_WIRE_BYTES + 1)}),
    "unknown field": _set(itemId=("x", 5, None), Title=("x",), __proto__=({},)),
    "numeric id": _set(item=(5, 5.5, -1, 10**18)),
    "no id": _set(item=(None, "", True, [], {}, ["a"])),
    "long id": _set(item=("x" * 129, "ü" * 5_000)),
    "control character": _set(item=("a\x00b", "a\nb", "\x7f", "a\x1b[31m")),
    "other kind": _set(kind=("click", "Interaction", "", None, 5, [])),
    "other version": _set(v=(0, 3, "2", None, 2.5, True, -1)),
    "time in seconds": _set(time=(1_700_000_000, 1_700_000_000.0)),
    "time in another unit": _set(time=(1_700_000_000_000_000, 1_700_000_000_000_000_000)),
    "time as text": _set(
        time=("yesterday", "2026-01-01T10:00:00", "2026-13-01T10:00:00Z", "1700000000000", "")
    ),
    "no time": _set(time=(-1, 0.5, None, True, [], 10**17, 1e300)),
}
INTERACTION_FAULTS: Mapping[str, Spoil] = {
    "missing field": _without("user", "item", "type", "time"),
    "numeric user": _set(user=(17_850, 1.5, 10**18)),
    "no user": _set(user=(None, "", [], {}, False)),
    "unknown type": _set(type=("buy", "VIEW", "", None, 5, ["view"])),
    "value no number": _set(value=("4", True, [], {}, "")),
    "context out of bounds": _set(
        context=({"a": {}}, {"a": [1]}, {"a": None}, {str(n): 1 for n in range(33)}, {"": 1}, [], "x")
    ),
    "time ahead": lambda random, fields: orjson.dumps({**fields, "time": fields["time"] + 3 * HOUR_MS}),
}
ITEM_FAULTS: Mapping[str, Spoil] = {
    "no title and no change": lambda random, fields: orjson.dumps(
        {k: fields[k] for k in ("v", "kind", "item")}
    ),
    "title out of bounds": _set(title=("x" * 1_001, 5, None, ["mug"])),
    "available no flag": _set(available=("yes", 1, None)),
    "attributes out of bounds": _set(
        attributes=({str(n): 1 for n in range(65)}, {"a": {}}, {"a": [[1]]}, {"a": None}, {"": 1}, [])
    ),
    "expires before published": lambda random, fields: orjson.dumps(
        {**fields, "published": 10, "expires": 5}
    ),
    "media no address": _set(media=({"front": "ftp://a"}, {"front": 5}, {"front": "http://a b"}, [])),
    "vectors out of bounds": _set(vectors=({"a": []}, {"a": ["x"]}, {"a": [0.0] * 1_025}, {"a": 1})),
    "a field of the next version": lambda random, fields: orjson.dumps({**fields, "v": 1, "media": {}}),
}
TOPIC_FAULTS: Mapping[str, Spoil] = {
    "empty": lambda random, fields: b"",
    "version left out": _without("v"),
    "kind left out": _without("kind"),
}


COLUMNS = ("event_id", "user", "item", "type", "time", "value")
MAPPING: Mapping[str, object] = {
    "name": "malformed",
    "invalid": "drop",
    "interactions": {column: column for column in COLUMNS},
    "time": {"format": "ms"},
}
"""How rows of files become events."""
ROW_FAULTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "missing": dict.fromkeys(("user", "item", "type", "time"), ("", " ")),
    "unknown type": {"type": ("buy", "VIEWED", "5")},
    "long id": {"user": ("x" * 129,), "item": ("x" * 500,), "event_id": ("x" * 129,)},
    "control character": {"item": ("a\x07b", "\x7f")},
    "time": {"time": ("yesterday", "2026-01-01", "1e400", "-5")},
    "value": {"value": ("many", "1,2,3", "--")},
}


def row_of(seed: int, number: int, now: int) -> tuple[dict[str, str], str]:
    """Make a row of a file, and what is wrong with it; the same for the same arguments."""
    random = Random(f"{seed}/files/{number}")
    row = {
        "event_id": f"files-{number}",
        "user": f"{random.choice(NAMES)}-{random.randrange(USERS)}",
        "item": f"item-{random.randrange(ITEMS)}",
        "type": str(random.choice(list(InteractionType))),
        "time": str(now - random.randrange(HOUR_MS)),
        "value": random.choice(("", "1.5", "3")),
    }
    if random.random() > SHARE_MALFORMED:
        return row, ""
    fault = random.choice(list(ROW_FAULTS))
    column = random.choice(list(ROW_FAULTS[fault]))
    return {**row, column: random.choice(ROW_FAULTS[fault][column])}, fault


FOREIGN_TOPIC = "clicks"
FOREIGN_MAPPING = """
[interactions]
user = "customer.id"
item = "sku"
type = "what"
time = "at"
value = "amount"
event_id = "id"

[time]
format = "ms"
"""
"""How the records of a topic that was not made for us become events, by the bridge."""
FOREIGN_FAULTS: Mapping[str, Spoil] = {
    "cut off": _cut_off,
    "no JSON value": lambda random, fields: orjson.dumps(fields | {"sku": "?"}).replace(b'"?"', b"NaN"),
    "no object": lambda random, _: random.choice((b"[]", b"5", b'"text"', b"null", b"", b"hello")),
    "nested too deep": ANY_FAULTS["nested too deep"],
    "missing field": _without("customer", "sku", "what", "at"),
    "no user": _set(customer=({}, {"id": None}, {"id": ""}, 5, ["id"], "ann")),
    "id out of bounds": _set(sku=("x" * 129, "a\x07b"), id=("x" * 129,), customer=({"id": "y" * 129},)),
    "nested where text is": _set(sku=({"a": 1}, [[1]]), what=({"a": 1},)),
    "unknown type": _set(what=("buy", "VIEWED", 5)),
    "time": _set(at=("yesterday", -5, {}, [], 1e300)),
    "time in seconds": _set(at=(1_700_000_000,)),
    "time ahead": lambda random, fields: orjson.dumps({**fields, "at": fields["at"] + 3 * HOUR_MS}),
    "value": _set(amount=("many", "1,2,3", {}, ["x"])),
}


def foreign_of(seed: int, number: int, now: int) -> Input:
    """Make a record of the foreign topic; the same for the same arguments."""
    random = Random(f"{seed}/bridge/{number}")
    fields: Fields = {
        "id": f"bridge-{number}",
        "customer": {"id": f"{random.choice(NAMES)}-{random.randrange(USERS)}", "country": "DE"},
        "sku": f"item-{random.randrange(ITEMS)}",
        "what": str(random.choice(list(InteractionType))),
        "at": now - random.randrange(HOUR_MS),
        "amount": random.choice((None, 1.5, "3")),
    }
    if random.random() > SHARE_MALFORMED:
        return Input("interactions", None, orjson.dumps(fields), "", fields["id"])
    fault = random.choice(list(FOREIGN_FAULTS))
    return Input("interactions", None, FOREIGN_FAULTS[fault](random, fields), fault, "")
