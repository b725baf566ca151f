"""Look at what the newest records of the source would become; nothing is written, no position is moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from pipeline.clock import now_ms
from pipeline.config import Settings
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, Record, read
from pipeline.eventlog.topics import Topics
from producers.bridge.daemon import mappers_of, source_place
from producers.bridge.event_ids import of_place
from producers.bridge.record_mapper import RecordMapper

MOST_RECORDS = 10_000
"""Of a topic that are looked at, the newest of each partition."""
SHOWN_EVENTS = 20


@dataclass
class DryRun:
    """What was found.

    Attributes:
        records: how many were looked at.
        made: records for the log, by kind.
        examples: the first of them, each with the place of its source and its wire form.
        refused: how often by reason, field and what is wrong; `first` has a place of each.
        dropped: how often by reason.
    """

    records: int = 0
    made: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str]] = field(default_factory=list)
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    first: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def add(self, record: Record, mapper: RecordMapper, now: int) -> None:
        """Decide about a record, and count it."""
        place = f"{record.source}/{record.offset}"
        decision = mapper.decide(record, of_place(record.topic, "", record.partition, record.offset), now)
        self.records += 1
        for made in decision.records:
            self.made[made.kind] += 1
            if len(self.examples) < SHOWN_EVENTS:
                shown = made.key if made.value is None else made.value.decode()
                self.examples.append((place, shown))
        if (refusal := decision.refusal) is not None:
            fault = str(refusal.code), refusal.field, refusal.reason
            self.refused[fault] += 1
            self.first.setdefault(fault, place)
        if decision.dropped is not None:
            self.dropped[decision.dropped] += 1


def run(settings: Settings) -> DryRun:
    """Look at all topics of the settings; the event log is not opened.

    Raises:
        InvalidSettings, DatasetError: no topic is named, or a mapping cannot be read.
        TopicError: a topic is missing.
        LogUnavailable: the source does not answer.
    """
    mappers = mappers_of(settings.bridge, Topics(settings.log.prefix))
    with closing(open_log(*source_place(settings), create=False)) as source:
        return dry_run(source, mappers, now_ms())


def dry_run(source: EventLog, mappers: Mapping[str, RecordMapper], now: int) -> DryRun:
    """Look at the newest records of some topics; `now` is in ms.

    Raises:
        TopicError, LogUnavailable: see `run`.
    """
    found = DryRun()
    for topic, mapper in mappers.items():
        for record in _newest(source, topic):
            found.add(record, mapper, now)
    return found


def _newest(source: EventLog, topic: str) -> Iterator[Record]:
    begins, ends = source.begin_offsets([topic]), source.end_offsets([topic])
    share = max(1, MOST_RECORDS // max(1, len(ends)))
    return read(source, topic, {one: max(begins[one], end - share) for one, end in ends.items()})
