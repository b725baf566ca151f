"""History: what was told on the control topic, each record once, as a table for an operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from rich.table import Table

from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics
from pipeline.learning.drift import DriftAlarm, RetrainRequest


@dataclass(frozen=True)
class HistoryEntry:
    """One record of the control topic; `append_time` in ms."""

    append_time: int
    told: DriftAlarm | RetrainRequest


def read_history(event_log: EventLog, topics: Topics) -> Iterator[HistoryEntry]:
    """Everything told, oldest first; what was told again after a crash is left out.

    Raises:
        TopicError: there is no control topic.
        pydantic.ValidationError: a record is none of ours.
    """
    known: set[str | None] = set()
    for record in read(event_log, topics.control):
        if record.key in known or record.value is None:
            continue
        known.add(record.key)
        kind = orjson.loads(record.value)["kind"]
        reader = DriftAlarm if kind == DriftAlarm.kind else RetrainRequest
        yield HistoryEntry(record.append_time, reader.decode(record.value))


def history_table(entries: Iterator[HistoryEntry]) -> Table:
    """A row an entry: when, which version, what, and its figures."""
    table = Table(title="history", title_justify="left")
    for heading in ("appended (UTC)", "version", "what", "signal", "before", "after", "events"):
        table.add_column(heading)
    for entry in entries:
        told = entry.told
        alarm = told.alarm if isinstance(told, RetrainRequest) else told
        when = datetime.fromtimestamp(entry.append_time / 1000, UTC).isoformat(sep=" ", timespec="seconds")
        figures = (f"{alarm.before:.4g}", f"{alarm.after:.4g}", f"{alarm.events:,}")
        table.add_row(when, f"{alarm.generation}-{alarm.step}", told.kind, alarm.signal, *figures)
    return table
