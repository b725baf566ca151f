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
from pipeline.eventlog.intake import check_interaction
from pipeline.eventlog.port import EventLog, Record
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, User, build, build_item, check_units, encode, parse
from pipeline.rules.rule import decode_rule, encode_rule
from producers.bridge.decision import BridgedRecord
from producers.bridge.event_ids import of_place
from producers.bridge.position import stored_positions
from producers.bridge.record_mapper import RecordMapper

DIGEST_BYTES = 12
COLLISION = "another event has this id: its sender must send it with an id of its own"
FOREIGN = "is no input topic of this model: say with --mapping how its records become events"
Letter = Mapping[str, Any]
Decide = Callable[[Letter, int], "Redelivery"]
"""Decides about a letter at a time in ms."""
EventIds = Callable[[Letter], str]


class Redelivery(NamedTuple):
    """What becomes of a dead letter that is sent once more: records, or another refusal."""

    place: str
    records: tuple[BridgedRecord, ...] = ()
    refusal: InvalidEvent | None = None


def decider(topics: Topics, mapper_of: Callable[[str], RecordMapper | None], id_of: EventIds) -> Decide:
    """Make what decides about letters.

    Args:
        topics: of the model.
        mapper_of: what reads the records of a topic as rows, and not as events.
        id_of: the id that the event of a letter has which does not say it.
    """

    def decide(letter: Letter, now: int) -> Redelivery:
        try:
            wire, mapper = _whole_value(letter), mapper_of(letter["topic"])
            if mapper is None:
                return Redelivery(letter["place"], (_by_schema(letter, wire, topics, now),))
            return _mapped(letter, wire, mapper, letter.get("event_id") or id_of(letter), now)
        except InvalidEvent as error:
            return Redelivery(letter["place"], refusal=error)

    return decide


def send(event_log: EventLog, topics: Topics, found: Iterable[Redelivery]) -> None:
    """Append the records, then take their letters out of the list.

    Killed in between, it leaves letters of records that were sent: they may be sent again.

    Raises:
        DeliveryError: the log did not acknowledge an append.
    """
    sent = [one for one in found if one.refusal is None]
    with event_log.writer() as writer:
        for made in (record for one in sent for record in one.records):
            writer.append(made.topic, made.key, made.value)
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


def bridged_ids(event_log: EventLog, topics: Topics, bridge: str) -> EventIds:
    """Make ids as the bridge of a name does, so that its reading everything again doubles nothing.

    Raises:
        TopicError: a position cannot be read.
    """
    stored = stored_positions(event_log, topics, bridge)

    def event_id(letter: Letter) -> str:
        at = stored.get(letter["topic"])
        return of_place(letter["topic"], at.identity if at else "", letter["partition"], letter["offset"])

    return event_id


def _mapped(letter: Letter, wire: bytes, mapper: RecordMapper, event_id: str, now: int) -> Redelivery:
    place = letter["topic"], letter["partition"], letter["offset"], letter["append_time"]
    record = Record(*place, letter.get("record_key"), wire)
    decision = mapper.decide(record, event_id, now)
    if not decision.records and decision.dropped is not None:
        raise InvalidEvent("event", f"the mapping leaves it out: {decision.dropped}")
    return Redelivery(letter["place"], decision.records, decision.refusal)


def _by_schema(letter: Letter, wire: bytes, topics: Topics, now: int) -> BridgedRecord:
    if letter["topic"] == topics.items:
        item = build_item(parse(wire))
        check_units(item)
        return BridgedRecord(topics.items, item.item, encode(item), item.kind)
    if letter["topic"] == topics.interactions:
        event = build(Interaction, {"event_id": event_id_of(letter["place"]), **parse(wire)})
        check_interaction(event, now)
        return BridgedRecord(topics.interactions, event.user, encode(event), event.kind)
    if letter["topic"] == topics.users:
        user = build(User, parse(wire))
        check_units(user)
        return BridgedRecord(topics.users, user.user, encode(user), user.kind)
    if letter["topic"] == topics.rules:
        rule = decode_rule(wire)
        return BridgedRecord(topics.rules, rule.name, encode_rule(rule), "rule")
    raise InvalidEvent("topic", FOREIGN, RefusalReason.SCHEMA)


def _whole_value(letter: Letter) -> bytes:
    if letter["code"] == RefusalReason.COLLISION:
        raise InvalidEvent("event_id", COLLISION, RefusalReason.COLLISION)
    value = base64.b64decode(letter["value"])
    if len(value) != letter["size"]:
        reason = f"the letter holds only the first {len(value)} of {letter['size']} bytes"
        raise InvalidEvent("event", reason, RefusalReason.TOO_LARGE)
    return value
