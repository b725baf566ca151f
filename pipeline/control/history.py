"""History: what was told on the control topic, each record once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson

from pipeline.control.alarms import DriftAlarm, RetrainRequest
from pipeline.control.records import Adoption, ControlRecord, GateDecision, Promotion, Refusal, Rollback
from pipeline.eventlog.port import EventLog, Record, read
from pipeline.eventlog.topics import Topics

log = logging.getLogger(__name__)

KINDS: dict[str, type[ControlRecord]] = {
    kind.kind: kind
    for kind in (DriftAlarm, RetrainRequest, GateDecision, Promotion, Rollback, Adoption, Refusal)
}
BOOKED = {"promoted": "won", "rejected": "false"}


@dataclass(frozen=True)
class HistoryEntry:
    """One record of the control topic.

    Attributes:
        append_time: ms.
        booked: of an alarm, whether the retrain that it led to was worth it: won or false;
            empty while that is open.
    """

    append_time: int
    told: ControlRecord
    booked: str = ""


def read_history(event_log: EventLog, topics: Topics) -> list[HistoryEntry]:
    """Everything told, oldest first; what was told again after a crash is left out.

    Raises:
        TopicError: there is no control topic.
    """
    told = list(_told(event_log, topics))
    booked = _booked([record for _, record in told])
    return [HistoryEntry(time, record, booked.get(record.key, "")) for time, record in told]


def _told(event_log: EventLog, topics: Topics) -> Iterator[tuple[int, ControlRecord]]:
    known: set[str] = set()
    for record in read(event_log, topics.control):
        told = _decoded(record)
        if told is not None and told.key not in known:
            known.add(told.key)
            yield record.append_time, told


def _decoded(record: Record) -> ControlRecord | None:
    try:
        wire = record.value or b"null"
        return KINDS[orjson.loads(wire)["kind"]].decode(wire)
    except (KeyError, TypeError, ValueError) as error:
        log.error("%s/%s is no record of ours: %s", record.source, record.offset, error)
        return None


def _booked(told: Iterable[ControlRecord]) -> dict[str, str]:
    """Keys of alarms and requests that were answered, with how they are booked."""
    records = list(told)
    judged = {j.request: j.outcome for j in records if isinstance(j, GateDecision) and j.request}
    booked: dict[str, str] = {}
    for record in records:
        if isinstance(record, RetrainRequest) and (outcome := BOOKED.get(judged.get(record.key, ""))):
            booked |= {record.key: outcome, record.alarm.key: outcome}
    return booked
