"""Decide about each event of a request: a record for the log, or a refusal for its sender.

The rules are those of the door that every consumer has (`pipeline.eventlog.intake`), so that nothing that
was accepted here is refused there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.intake import check_interaction
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, Item, ItemChange, User, build, build_item, check_units, encode
from producers.gateway import event_ids
from producers.gateway.bodies import Line
from producers.gateway.cloud_events import SentEvent
from producers.gateway.schemas import RefusedLine

DEFAULT_VERSION = 2
"""The schema version of an event that names none; part of what /v1 promises."""
PENDING = "pending"
"""Stands for an id until the content is known to be valid."""
KINDS = (Interaction.kind, Item.kind, User.kind)
REMOVAL, CHANGE = "removal", "change"


class GatewayRecord(NamedTuple):
    """A record to append; `kind` is for metrics, `event_id` of an interaction for traces."""

    topic: str
    key: str
    value: bytes | None
    kind: str
    event_id: str | None = None


class Decision(NamedTuple):
    """What a request's events become."""

    records: list[GatewayRecord]
    refused: list[RefusedLine]


def decide(
    lines: Iterable[Line], topics: Topics, now: int, kind: str | None = None, request_key: str | None = None
) -> Decision:
    """Decide about every line on its own, so that no event is lost because of its neighbour.

    Args:
        lines: the events of a request.
        topics: where records go.
        now: in ms; stands for the append time.
        kind: of events that name none; None requires them to.
        request_key: the Idempotency-Key of the request, from which ids are derived.
    """
    decision = Decision([], [])
    for line in lines:
        try:
            given = {"event_id": event_ids.of_request(request_key, line.number)} if request_key else {}
            decision.records.append(_record(line.read(), kind, given, topics, now))
        except InvalidEvent as error:
            decision.refused.append(RefusedLine.of(line.number, error))
    return decision


def removal(topic: str, key: str) -> GatewayRecord:
    """Make the record that removes an item or a user: a tombstone."""
    return GatewayRecord(topic, key, None, REMOVAL)


def _record(
    sent: SentEvent, kind: str | None, given: Mapping[str, object], topics: Topics, now: int
) -> GatewayRecord:
    envelope = {"v": DEFAULT_VERSION, "kind": kind}
    fields = {**envelope, **sent.fields}
    if fields["kind"] == Interaction.kind and kind in (None, Interaction.kind):
        event = _interaction({**given, **sent.given, **fields}, now)
        return GatewayRecord(topics.interactions, event.user, encode(event), event.kind, event.event_id)
    if fields["kind"] == Item.kind and kind in (None, Item.kind):
        item = build_item(fields)
        check_units(item)
        name = CHANGE if isinstance(item, ItemChange) else item.kind
        return GatewayRecord(topics.items, item.item, encode(item), name)
    if fields["kind"] == User.kind and kind in (None, User.kind):
        user = build(User, fields)
        check_units(user)
        return GatewayRecord(topics.users, user.user, encode(user), user.kind)
    raise InvalidEvent("kind", _kind_remedy(kind), RefusalReason.SCHEMA)


def _interaction(fields: Mapping[str, object], now: int) -> Interaction:
    event = build(Interaction, {"event_id": PENDING, **fields})
    check_interaction(event, now)
    if "event_id" not in fields:
        return event.model_copy(update={"event_id": event_ids.of_content(event)})
    return event


def _kind_remedy(kind: str | None) -> str:
    if kind is not None:
        return f"must be {kind!r} at this route, or left out: /v1/events takes every kind"
    return f"must be {' or '.join(map(repr, KINDS))}; only the routes of one kind do without"
