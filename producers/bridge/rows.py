"""Read a record of a foreign topic as a row: cells by name, and whether the row was deleted.

Beside its own cells a row has `$key`, the record's key (the object or the text that its JSON is, or else its
text), and in Debezium's form `$envelope`, with `$envelope.op` and `$envelope.ts_ms`. A row that Debezium
flattened has no envelope, and is known by `__deleted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from pipeline.datasets.row_reader import Drop
from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.port import Record
from pipeline.events import as_object
from producers.bridge import mongodb
from producers.bridge.values import ReadValue

KEY, ENVELOPE = "$key", "$envelope"
FLATTENED = "__deleted"
"""What Debezium adds to rows that it flattens (ExtractNewRecordState), if deletions are rewritten:
https://debezium.io/documentation/reference/stable/transformations/event-flattening.html"""
WRAPPER = {"schema", "payload"}
"""Fields of what Kafka Connect writes where the converter's schemas are enabled."""
NO_ENVELOPE = (
    "must be c, u, r or d: is this topic in Debezium's form? Rows that it flattened need format = 'json', "
    "or deletions that are rewritten"
)
TOMBSTONE = Drop("a record without a value, behind a deletion")


class SourceRow(NamedTuple):
    """A row as a record has it; of a deleted one, what is known of it."""

    cells: Mapping[str, object]
    deleted: bool = False


RowForm = Callable[[Record, ReadValue], SourceRow | Drop]
"""How to read a record whose value is read by a function; raises InvalidEvent."""


def json_row(record: Record, read: ReadValue) -> SourceRow | Drop:
    """Read a record whose value is the row, as it is or flattened by Debezium.

    Raises:
        InvalidEvent: it is none, or the record cannot be read.
    """
    _check_readable(record)
    key = _key(record)
    if record.value is None:
        return SourceRow({**_fields(key), KEY: key}, deleted=True)
    return _row(read(record.value), key)


def debezium_row(record: Record, read: ReadValue) -> SourceRow | Drop:
    """Read a record that is Debezium's envelope of a change: the row after it, or the one that it deleted.

    Flattened rows are read, too. Documents of MongoDB are texts, in keys as well.

    Raises:
        InvalidEvent: it is no such envelope, or the record cannot be read.
    """
    _check_readable(record)
    key = _unwrapped(_key(record))
    envelope = None if record.value is None else _unwrapped(read(record.value))
    if envelope is None:
        return SourceRow({**_key_cells(key), KEY: key}, deleted=True) if _fields(key) else TOMBSTONE
    if FLATTENED in as_object(envelope):
        return _row(as_object(envelope), key)
    more = {KEY: key, ENVELOPE: envelope}
    match as_object(envelope).get("op"):
        case "c" | "u" | "r":
            return SourceRow({**_part(envelope, "after"), **more})
        case "d":
            before = _part(envelope, "before") if _fields(envelope).get("before") else {}
            return SourceRow({**_key_cells(key), **before, **more}, deleted=True)
        case "t" | "m":
            return Drop("a message of the connector, or of a table that was emptied")
    raise InvalidEvent("op", NO_ENVELOPE, RefusalReason.SCHEMA)


ROW_FORMS: Mapping[str, RowForm] = {"json": json_row, "debezium": debezium_row}
"""By the name of the format in the settings."""


def _check_readable(record: Record) -> None:
    if record.error is not None:
        raise InvalidEvent("record", record.error)


def _key(record: Record) -> object:
    """Return the object or the text that a key in JSON is, else the key: serializers of JSON quote texts."""
    if record.key is None or not record.key.startswith(("{", '"')):
        return record.key
    try:
        return orjson.loads(record.key)
    except orjson.JSONDecodeError:
        return record.key


def _unwrapped(value: object) -> object:
    return value["payload"] if isinstance(value, dict) and value.keys() == WRAPPER else value


def _fields(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _row(cells: dict[str, object], key: object) -> SourceRow:
    """Return a row as it is, or deleted if Debezium says so, within the wrapper or without."""
    if _fields(_unwrapped(cells)).get(FLATTENED) in ("true", True):
        return SourceRow({**_fields(key), **cells, KEY: key}, deleted=True)
    return SourceRow({**cells, KEY: key})


def _key_cells(key: object) -> Mapping[str, object]:
    """Return the cells of a key; that of a document of MongoDB has the text of its `_id` as `id`."""
    fields = _fields(key)
    text = fields.get("id")
    if len(fields) > 1 or not isinstance(text, str):
        return fields
    try:
        return {**fields, "_id": mongodb.read_text(text)}
    except ValueError:
        return fields


def _part(envelope: object, name: str) -> dict[str, object]:
    part = _fields(envelope).get(name)
    if isinstance(part, str):
        part = _document(part, name)
    if not isinstance(part, dict):
        raise InvalidEvent(name, "must be the row, as an object", RefusalReason.MISSING_FIELD)
    return part


def _document(text: str, name: str) -> object:
    try:
        return mongodb.read_text(text)
    except ValueError as error:
        raise InvalidEvent(name, f"is a text, but not JSON: {error}", RefusalReason.NOT_JSON) from None
