"""History: what was told on the control topic, each record once, as a table for an operator."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from rich.table import Table

from pipeline.eventlog.port import EventLog, Record, read
from pipeline.eventlog.topics import Topics
from pipeline.learning.control import Adoption, ControlRecord, Judgement, Promotion, Refusal, Rollback
from pipeline.learning.drift import DriftAlarm, RetrainRequest

log = logging.getLogger(__name__)

KINDS: dict[str, type[ControlRecord]] = {
    kind.kind: kind
    for kind in (DriftAlarm, RetrainRequest, Judgement, Promotion, Rollback, Adoption, Refusal)
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


def history_table(entries: Iterable[HistoryEntry]) -> Table:
    """A row an entry: when, which version, what, its figures, and why."""
    table = Table(title="history", title_justify="left")
    for heading in ("appended (UTC)", "version", "what", "figures", "why"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        when = datetime.fromtimestamp(entry.append_time / 1000, UTC).isoformat(sep=" ", timespec="seconds")
        version, what, figures, why = _row(entry.told)
        table.add_row(when, version, f"{what} {entry.booked}".strip(), figures, why)
    return table


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
    judged = {j.request: j.outcome for j in records if isinstance(j, Judgement) and j.request}
    booked: dict[str, str] = {}
    for record in records:
        if isinstance(record, RetrainRequest) and (outcome := BOOKED.get(judged.get(record.key, ""))):
            booked |= {record.key: outcome, record.alarm.key: outcome}
    return booked


def _row(told: ControlRecord) -> tuple[str, str, str, str]:
    """Version, what, figures and why."""
    match told:
        case DriftAlarm():
            figures = f"{told.before:.4g} → {told.after:.4g} after {told.events:,} events"
            return f"{told.generation}-{told.step}", f"alarm: {told.signal}", figures, ""
        case RetrainRequest():
            alarm = told.alarm
            return f"{alarm.generation}-{alarm.step}", "retrain requested", "", f"alarm: {alarm.signal}"
        case Judgement():
            return told.champion, f"{told.candidate} {told.outcome}", _figures(told), "\n".join(told.reasons)
        case Promotion():
            return "", f"promotion of {told.candidate} ordered", "", told.reason
        case Rollback():
            learned = "learned again" if told.relearn else "folded"
            return told.version, "rollback ordered", f"what came since is {learned}", told.reason
        case Adoption():
            return told.version, "adopted", f"after {told.left}", told.reason
        case Refusal():
            return "", f"{told.order} refused", "", told.reason
    raise AssertionError(f"{told.kind} has no row")


def _figures(judged: Judgement) -> str:
    """Gains with their bounds, then what it cost."""
    names = {"log_loss.all": "log-loss", "ndcg.all": "NDCG"}
    gains = [
        f"{name} {judged.figures[f'{figure}.gain']:+.4f} "
        f"[{judged.figures[f'{figure}.low']:+.4f}, {judged.figures[f'{figure}.high']:+.4f}]"
        for figure, name in names.items()
        if f"{figure}.gain" in judged.figures
    ]
    return "\n".join([*gains, *_spent(judged.cost)])


def _spent(cost: Mapping[str, float]) -> list[str]:
    if not cost:
        return []
    return [f"{cost['seconds']:.0f} s, {cost['events']:,.0f} events, {cost['peak_bytes'] / 2**20:.0f} MiB"]
