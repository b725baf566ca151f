"""Send dead letters once more: validated again, by the schema or by a mapping that was mended since.

Sent twice, an event counts once: it keeps its id, and without one gets the id that follows from the place
of its record.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.intake import check_interaction, check_unit
from pipeline.eventlog.port import EventLog, Record
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, build, build_item, encode, parse
from producers.bridge.record_mapper import RecordMapper

DIGEST_BYTES = 12
COLLISION = "another event has this id: its sender must send it with an id of its own"
FOREIGN = "is no input topic of this model, and none of [bridge]: say with --mapping what its records become"
Letter = Mapping[str, Any]
NewRecord = tuple[str, str, bytes | None]
"""Topic, key and value."""
Decide = Callable[[Letter, int], "Redelivery"]
"""Decides about a letter at a time in ms."""


class Redelivery(NamedTuple):
    """What becomes of a dead letter that is sent once more: records, or another refusal."""

    place: str
    records: tuple[NewRecord, ...] = ()
    refusal: InvalidEvent | None = None


def decider(topics: Topics, mappers: Mapping[str, RecordMapper], given: RecordMapper | None = None) -> Decide:
    """Make what decides about letters.

    Args:
        topics: of the model.
        mappers: of the bridge, by topic of its source.
        given: for the records of all letters; without it, those of other topics are events.
    """
    by_schema = _by_schema(topics)

    def decide(letter: Letter, now: int) -> Redelivery:
        mapper = given or mappers.get(letter["topic"])
        try:
            made = _mapped(mapper, letter, now) if mapper else (by_schema(letter, now),)
        except InvalidEvent as error:
            return Redelivery(letter["place"], refusal=error)
        return Redelivery(letter["place"], made)

    return decide


def send(event_log: EventLog, topics: Topics, found: Iterable[Redelivery]) -> None:
    """Append the records, then take their letters out of the list.

    Killed in between, it leaves letters of records that were sent: they may be sent again.

    Raises:
        DeliveryError: the log did not acknowledge an append.
    """
    sent = [one for one in found if one.records]
    with event_log.writer() as writer:
        for topic, key, value in (record for one in sent for record in one.records):
            writer.append(topic, key, value)
        writer.flush()
        for one in sent:
            writer.append(topics.dead_letters, one.place, None)
        writer.flush()


def event_id_of(place: str) -> str:
    """Derive the id of an event from the place of its record.

    >>> event_id_of("shop.interactions/3/17")
    'letter-29ab89879ae75f2bf8bc5cb4'
    """
    return f"letter-{hashlib.blake2b(place.encode(), digest_size=DIGEST_BYTES, person=b'letter').hexdigest()}"


def _by_schema(topics: Topics) -> Callable[[Letter, int], NewRecord]:
    def record(letter: Letter, now: int) -> NewRecord:
        wire = _whole_value(letter)
        if letter["topic"] == topics.items:
            item = build_item(parse(wire))
            check_unit(item.time)
            return topics.items, item.item, encode(item)
        if letter["topic"] == topics.interactions:
            event = build(Interaction, {"event_id": event_id_of(letter["place"]), **parse(wire)})
            check_interaction(event, now)
            return topics.interactions, event.user, encode(event)
        raise InvalidEvent("topic", FOREIGN, RefusalReason.SCHEMA)

    return record


def _mapped(mapper: RecordMapper, letter: Letter, now: int) -> tuple[NewRecord, ...]:
    """Read the value of a letter as the bridge does; all its events are sent, or none.

    Those that were bridged already have the same ids.
    """
    place = letter["topic"], letter["partition"], letter["offset"], letter["append_time"]
    record = Record(*place, letter.get("record_key"), _whole_value(letter))
    decision = mapper.decide(record, letter.get("event_id") or event_id_of(letter["place"]), now)
    if decision.refusal is not None:
        raise decision.refusal
    if not decision.records:
        raise InvalidEvent("event", f"the mapping leaves it out: {decision.dropped}")
    return tuple((made.topic, made.key, made.value) for made in decision.records)


def _whole_value(letter: Letter) -> bytes:
    if letter["code"] == RefusalReason.COLLISION:
        raise InvalidEvent("event_id", COLLISION, RefusalReason.COLLISION)
    value = base64.b64decode(letter["value"])
    if len(value) != letter["size"]:
        reason = f"the letter holds only the first {len(value)} of {letter['size']} bytes"
        raise InvalidEvent("event", reason, RefusalReason.TOO_LARGE)
    return value
