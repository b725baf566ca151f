"""Decode records to events, and encode invalid records as dead letters with their source."""

from __future__ import annotations

import base64

import orjson

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.port import Record
from pipeline.events import (
    MAX_TIME_AHEAD_MS,
    MAX_WIRE_BYTES,
    CatalogueRecord,
    Impression,
    Interaction,
    User,
    UserRecord,
    build,
    check_units,
    decode,
    decode_item,
    parse,
)


def interaction_of(record: Record) -> Interaction:
    """Decode and check the interaction in a record.

    Raises:
        InvalidEvent: the record cannot be read, is not an interaction, its key is not the user, or
            its time is in seconds or more than MAX_TIME_AHEAD_MS ahead of its append time.
    """
    event = decode(Interaction, _value(record))
    _check_key(record.key, "user", event.user)
    check_interaction(event, record.append_time)
    return event


def impression_of(record: Record) -> Impression:
    """Decode and check the impression in a record, for who joins it with what came of it.

    Its offsets and context, most of its bytes, are not read for that. Its own time may be any, because joins
    go by the append time.

    Raises:
        InvalidEvent: the record cannot be read, is not an impression, or its key is not the user.
    """
    shown = build(Impression, {**parse(_value(record)), "offsets": {}, "context": {}})
    _check_key(record.key, "user", shown.user)
    return shown


def item_of(record: Record) -> CatalogueRecord:
    """Decode the upsert or the change in a record, or return the id of the item that a tombstone removes.

    Raises:
        InvalidEvent: the record cannot be read, is neither, its key is not the item, or one of its
            times is in seconds.
    """
    key = _key(record, "item")
    if record.value is None:
        return key
    item = decode_item(record.value)
    _check_key(key, "item", item.item)
    check_units(item)
    return item


def user_of(record: Record) -> UserRecord:
    """Decode the upsert in a record, or return the id of the user whom a tombstone removes.

    Raises:
        InvalidEvent: the record cannot be read, is no user, its key is not the user, or its time is in
            seconds.
    """
    key = _key(record, "user")
    if record.value is None:
        return key
    user = decode(User, record.value)
    _check_key(key, "user", user.user)
    check_units(user)
    return user


def check_interaction(event: Interaction, append_time: int) -> None:
    """Check the time of an interaction against the time of its append.

    Raises:
        InvalidEvent: it is in seconds, or more than MAX_TIME_AHEAD_MS ahead.
    """
    check_units(event)
    if event.time > append_time + MAX_TIME_AHEAD_MS:
        reason = f"more than {MAX_TIME_AHEAD_MS} ms ahead of the append time: set the producer's clock"
        raise InvalidEvent("time", reason, RefusalReason.TIME_AHEAD)


def dead_letter(record: Record, error: InvalidEvent, event_id: str | None = None) -> tuple[str, bytes]:
    """Build the key and value of the dead letter for an invalid record.

    `event_id` is what its event would have, if that follows from the record's place.

    The key is the record's partition and offset, so republishing it after a restart is idempotent.
    The value is kept up to MAX_WIRE_BYTES.
    """
    value = record.value or b""
    letter = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "append_time": record.append_time,
        "record_key": record.key,
        "code": error.code,
        "field": error.field,
        "reason": error.reason,
        **({} if event_id is None else {"event_id": event_id}),
        "size": len(value),
        "value": base64.b64encode(value[:MAX_WIRE_BYTES]).decode(),
    }
    return f"{record.source}/{record.offset}", orjson.dumps(letter)


def _key(record: Record, field: str) -> str:
    """Return the key of a record that can be read; `field` is what the key is."""
    check_readable(record)
    if not record.key:
        raise InvalidEvent(field, f"the record has no key: send the {field} as the key", RefusalReason.KEY)
    return record.key


def _check_key(key: str | None, field: str, value: str) -> None:
    if key != value:
        raise InvalidEvent(field, "is not the record's key", RefusalReason.KEY)


def check_readable(record: Record) -> None:
    """Check that the log could read a record.

    Raises:
        InvalidEvent: it could not.
    """
    if record.error is not None:
        raise InvalidEvent("record", record.error)


def _value(record: Record) -> bytes:
    check_readable(record)
    if record.value is None:
        raise InvalidEvent("event", "the record has no value", RefusalReason.NO_VALUE)
    return record.value
