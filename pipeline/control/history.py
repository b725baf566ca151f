"""History: the records of the control topic, each once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.bounded import fault_of
from pipeline.control.actions import OperatorAction, Removal, SignOut
from pipeline.control.alarms import BudgetSpent, DriftAlarm, RetrainRequest
from pipeline.control.records import (
    Adoption,
    ControlRecord,
    Gap,
    GateDecision,
    Pause,
    Promotion,
    Refusal,
    Resume,
    Rollback,
)
from pipeline.eventlog.port import EventLog, Record, read
from pipeline.eventlog.topics import Topics
from pipeline.sealing import open_record

log = logging.getLogger(__name__)

KINDS: dict[str, type[ControlRecord]] = {
    kind.kind: kind
    for kind in (
        DriftAlarm,
        RetrainRequest,
        BudgetSpent,
        GateDecision,
        Promotion,
        Rollback,
        Pause,
        Resume,
        Adoption,
        Gap,
        Refusal,
        OperatorAction,
        Removal,
    )
}
RESULTS = {"promoted": "won", "rejected": "false"}
"""By outcome of the retrain that an alarm led to."""


@dataclass(frozen=True)
class HistoryEntry:
    """One record of the control topic.

    Attributes:
        append_time: ms.
        result: of an alarm or a request, "won" if the retrain that it led to was promoted, "false"
            if it was rejected; empty while that is open.
    """

    append_time: int
    record: ControlRecord
    result: str = ""


def read_history(event_log: EventLog, topics: Topics) -> list[HistoryEntry]:
    """Read all records, oldest first, but for sign-outs, and for those published again after a crash.

    Raises:
        TopicError: there is no control topic.
    """
    records = list(_distinct(event_log, topics))
    results = _results([record for _, record in records])
    return [HistoryEntry(time, record, results.get(record.key, "")) for time, record in records]


def _distinct(event_log: EventLog, topics: Topics) -> Iterator[tuple[int, ControlRecord]]:
    known: set[str] = set()
    for appended in read(event_log, topics.control):
        record = _decoded(appended)
        if record is not None and record.key not in known:
            known.add(record.key)
            yield appended.append_time, record


def _decoded(record: Record) -> ControlRecord | None:
    try:
        wire = record.value or b"null"
        kind = open_record(wire)["kind"]
        return None if kind == SignOut.kind else KINDS[kind].decode(wire)
    except (KeyError, TypeError, ValueError) as error:
        log.error("%s/%s cannot be decoded: %s", record.source, record.offset, fault_of(error))
        return None


def _results(records: Sequence[ControlRecord]) -> dict[str, str]:
    """Results of the alarms and requests that were answered, by key."""
    outcomes = {d.request: d.outcome for d in records if isinstance(d, GateDecision) and d.request}
    results: dict[str, str] = {}
    for record in records:
        if isinstance(record, RetrainRequest) and (result := RESULTS.get(outcomes.get(record.key, ""))):
            results |= {record.key: result, record.alarm.key: result}
    return results
