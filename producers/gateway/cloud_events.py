"""CloudEvents 1.0: the event is the data; the envelope gives what the event does not say itself.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, and the HTTP binding beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from pydantic_core import PydanticCustomError

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.event_fields import milliseconds
from pipeline.events import as_object
from producers.gateway import event_ids

VERSION = "1.0"
PREFIX = "ce-"
"""Of the headers that hold the envelope in binary mode."""
REQUIRED = ("id", "source", "type")


class SentEvent(NamedTuple):
    """An event as it was sent: its fields, and what stands in for those that it lacks.

    Attributes:
        fields: of the wire form, unchecked.
        given: fields that an interaction gets if it does not have them.
    """

    fields: Mapping[str, object]
    given: Mapping[str, object]


def plain(value: object) -> SentEvent:
    """Read an event that has no envelope of CloudEvents.

    Raises:
        InvalidEvent: it is no JSON object.
    """
    return SentEvent(as_object(value), {})


def structured(value: object) -> SentEvent:
    """Read an event of structured mode: the envelope is a JSON object with the event as its data.

    Raises:
        InvalidEvent: it is none, or the envelope or the data is incomplete.
    """
    envelope = as_object(value)
    given = _given(envelope, "")
    if "data" not in envelope:
        raise InvalidEvent("data", "missing: send the event as a JSON object", RefusalReason.MISSING_FIELD)
    return SentEvent(as_object(envelope["data"]), given)


def binary(headers: Mapping[str, str], value: object) -> SentEvent:
    """Read an event of binary mode: the envelope is in the headers, the event is the body.

    Raises:
        InvalidEvent: the body is no JSON object, or the envelope is incomplete.
    """
    envelope = {
        name.removeprefix(PREFIX): unquote(text) for name, text in headers.items() if name.startswith(PREFIX)
    }
    return SentEvent(as_object(value), _given(envelope, PREFIX))


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether the headers of a request are the envelope of a CloudEvent."""
    return f"{PREFIX}specversion" in headers


def _given(envelope: Mapping[str, object], prefix: str) -> dict[str, object]:
    """Check the envelope; return the id and time of its event."""
    if envelope.get("specversion") != VERSION:
        raise InvalidEvent(f"{prefix}specversion", f"must be {VERSION!r}", RefusalReason.SCHEMA)
    for name in REQUIRED:
        if not isinstance(text := envelope.get(name), str) or not text:
            reason = "missing: a CloudEvent has it, as text that is not empty"
            raise InvalidEvent(f"{prefix}{name}", reason, RefusalReason.MISSING_FIELD)
    event_id = event_ids.of_cloud_event(str(envelope["source"]), str(envelope["id"]))
    return {"event_id": event_id, **_time(envelope, prefix)}


def _time(envelope: Mapping[str, object], prefix: str) -> dict[str, object]:
    """Check the time of an envelope, if it has one; an event that has its own does not need it."""
    if "time" not in envelope:
        return {}
    time = envelope["time"]
    try:
        if not isinstance(time, str):
            raise PydanticCustomError("time_form", "is not text: CloudEvents have ISO 8601 with a zone")
        return {"time": milliseconds(time)}
    except PydanticCustomError as error:
        raise InvalidEvent(f"{prefix}time", error.message(), RefusalReason.TIME_UNIT) from None
