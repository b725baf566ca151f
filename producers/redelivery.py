"""Send dead letters once more: validated again, by the schema or by a mapping that was mended since.

Sent twice, an event counts once: it keeps its id, and without one gets the id that follows from the place
of its record.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pipeline.datasets import mapping as mappings
from pipeline.datasets.cells import DateForm
from pipeline.datasets.records import Row
from pipeline.datasets.row_reader import Act, ActReader, CellReader, InvalidField, ItemReader
from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.intake import check_interaction, check_unit
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, Item, build, build_item, encode, parse, validate

DIGEST_BYTES = 12
COLLISION = "another event has this id: its sender must send it with an id of its own"
FOREIGN = "is no input topic of this model: say with --mapping how its records become events"
Letter = Mapping[str, Any]
Decide = Callable[[Letter, int], "Redelivery"]
"""Decides about a letter at a time in ms."""


class Redelivery(NamedTuple):
    """What becomes of a dead letter that is sent once more: a record, or another refusal."""

    place: str
    record: tuple[str, str, bytes] | None = None
    refusal: InvalidEvent | None = None


def decider(topics: Topics, mapping: mappings.Mapping | None) -> Decide:
    """Make what decides about letters; with a mapping, their values are rows of JSON and not events.

    Raises:
        DatasetError: the mapping has no interactions and no items.
    """
    make = _MappedRecords(topics, mapping).record if mapping else _by_schema(topics)

    def decide(letter: Letter, now: int) -> Redelivery:
        try:
            return Redelivery(letter["place"], make(letter, now))
        except InvalidField as error:
            refusal = InvalidEvent(error.column, error.problem, error.code)
        except InvalidEvent as error:
            refusal = error
        return Redelivery(letter["place"], refusal=refusal)

    return decide


def send(event_log: EventLog, topics: Topics, found: Iterable[Redelivery]) -> None:
    """Append the records, then take their letters out of the list.

    Killed in between, it leaves letters of records that were sent: they may be sent again.

    Raises:
        DeliveryError: the log did not acknowledge an append.
    """
    sent = [one for one in found if one.record is not None]
    with event_log.writer() as writer:
        for one in sent:
            if one.record is not None:
                writer.append(*one.record)
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


def _by_schema(topics: Topics) -> Callable[[Letter, int], tuple[str, str, bytes]]:
    def record(letter: Letter, now: int) -> tuple[str, str, bytes]:
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


class _MappedRecords:
    """Reads the values of letters as rows of a mapping: acts, or else items."""

    def __init__(self, topics: Topics, mapping: mappings.Mapping) -> None:
        cells = CellReader(mapping.time, mapping.layout, _unproven_order)
        item_cells = CellReader(mapping.item_times, mapping.layout, _unproven_order)
        self._topics = topics
        self._acts = ActReader(mapping, cells) if mapping.interactions else None
        self._has_times = mapping.interactions is not None and mapping.interactions.time is not None
        self._items = ItemReader(mapping.items, item_cells) if mapping.items else None

    def record(self, letter: Letter, now: int) -> tuple[str, str, bytes]:
        """Make the record of a letter."""
        row = Row(letter["place"], parse(_whole_value(letter)))
        if self._acts is not None:
            return self._of_act(self._acts.read(row, 0, 0), letter, now)
        assert self._items is not None
        fields = {"item": self._items.item(row.cells), **self._items.others(row.cells)}
        title = self._items.title(row.cells) or fields["item"]
        item = validate(Item, {"time": letter["append_time"], "title": title, **fields})
        return self._topics.items, item.item, encode(item)

    def _of_act(self, act: object, letter: Letter, now: int) -> tuple[str, str, bytes]:
        if not isinstance(act, Act):
            raise InvalidEvent("event", f"the mapping leaves it out: {getattr(act, 'reason', act)}")
        time = act.time if self._has_times else letter["append_time"]
        event = validate(Interaction, {"event_id": event_id_of(letter["place"]), **act.fields, "time": time})
        check_interaction(event, now)
        return self._topics.interactions, event.user, encode(event)


def _whole_value(letter: Letter) -> bytes:
    if letter["code"] == RefusalReason.COLLISION:
        raise InvalidEvent("event_id", COLLISION, RefusalReason.COLLISION)
    value = base64.b64decode(letter["value"])
    if len(value) != letter["size"]:
        reason = f"the letter holds only the first {len(value)} of {letter['size']} bytes"
        raise InvalidEvent("event", reason, RefusalReason.TOO_LARGE)
    return value


def _unproven_order() -> DateForm:
    """A letter has no other dates that could prove the order."""
    raise ValueError("has day and month in an unknown order: name the format in [time]")
