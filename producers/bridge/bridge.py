"""The bridge's loop: read, decide, append, make durable, and only then move the position.

Killed between two of these steps, it reads some records again. Their events have the same ids, so each counts
once; nothing rests on transactions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from threading import Event

from pipeline import metrics
from pipeline.clock import now_ms
from pipeline.config import BridgeConfig
from pipeline.errors import LogUnavailable, OffsetsExpired, TopicRenewed
from pipeline.eventlog.intake import dead_letter
from pipeline.eventlog.patience import Pauses
from pipeline.eventlog.patient_writer import PatientWriter
from pipeline.eventlog.port import EventLog, LogReader, LogWriter, Record
from pipeline.eventlog.refusal_limit import RefusalLimit
from pipeline.eventlog.refusal_log import RefusalLog
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction
from producers.bridge.event_ids import of_place
from producers.bridge.position import Positions, stored_positions
from producers.bridge.record_mapper import RecordMapper
from producers.bridge.resuming import resume
from producers.bridge.source_watch import SourceWatch

POLL_SECONDS = 0.5
PAUSE_SECONDS = 0.5
READY_SECONDS = 15.0
"""A turn takes less while both logs answer."""

Letter = tuple[str, bytes]
"""Key and value of a dead letter."""

log = logging.getLogger(__name__)


class Bridge:
    """Bridges topics until it is stopped; `run` is for a thread of its own."""

    def __init__(
        self,
        source: EventLog,
        event_log: EventLog,
        topics: Topics,
        config: BridgeConfig,
        mappers: Mapping[str, RecordMapper],
        limit: RefusalLimit,
        stop: Event,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """Create the bridge; `mappers` is by topic of the source, and `clock` in ms."""
        self._source, self._log, self._topics, self._config = source, event_log, topics, config
        self._mappers, self._limit, self._stop, self._clock = mappers, limit, stop, clock
        self._refusals = RefusalLog("bridge")
        self._known_drops: set[str] = set()
        self._last_turn: float | None = None
        self._is_behind = True
        self._pauses = Pauses("bridge", "bridging pauses", stop)

    @property
    def is_ready(self) -> bool:
        """Whether it has turned just now, because both logs answer, and has not stopped reading."""
        if self._last_turn is None or self._limit.is_exceeded:
            return False
        return time.monotonic() - self._last_turn < READY_SECONDS

    def run(self) -> None:
        """Bridge until stopped; wait while one of the logs is away.

        Raises:
            TopicError: a topic is missing.
            RecordsLost: the source has lost records that were not read, and that is not accepted.
            Stopped: it was stopped while the log was away.
        """
        while not self._stop.is_set():
            try:
                self.bridge()
            except (LogUnavailable, OffsetsExpired, TopicRenewed) as error:
                # What is lost is found out when it resumes.
                self._pauses.pause(error, PAUSE_SECONDS, self._source, self._log)

    def bridge(self) -> None:
        """Bridge from the stored positions on.

        Raises:
            LogUnavailable, OffsetsExpired, TopicRenewed: to be repeated.
            TopicError, RecordsLost, Stopped: see `run`.
        """
        stored = stored_positions(self._log, self._topics, self._config.name)
        watch = SourceWatch(self._source, self._mappers)
        found = {
            topic: resume(self._source, topic, stored.get(topic), self._config) for topic in self._mappers
        }
        with PatientWriter(self._log, self._stop) as writer:
            positions = Positions(found, self._topics, self._config.name, self._config.batch_records)
            positions.write(writer)
            writer.flush()  # else a bridge that starts at the end would begin later after a crash
            with self._source.reader(positions.offsets) as reader:
                while not self._stop.is_set():
                    self._turn(reader, writer, positions, watch)
                    watch.check(reader)
                    self._last_turn = time.monotonic()
            positions.write(writer)
            writer.flush()

    def _turn(self, reader: LogReader, writer: LogWriter, positions: Positions, watch: SourceWatch) -> None:
        if self._limit.is_exceeded:
            self._stop.wait(POLL_SECONDS)
            return
        records, letters = reader.poll(self._config.batch_records, POLL_SECONDS), list[Letter]()
        if self._is_behind and not records:
            self._is_behind = False
            log.info("caught up with the source")
        if records:
            watch.confirm()  # before they become events: their ids rest on it
        for record in records:
            letters += self._append(record, positions.of(record).identity, writer)
        if records:
            writer.flush()
            positions.advance(records)
            self._limit.add(len(records), letters)
        self._refusals.settle()
        positions.write_if_due(writer)

    def _append(self, record: Record, identity: str, writer: LogWriter) -> list[Letter]:
        """Append what a record becomes; return its dead letter, if it has one."""
        event_id = of_place(record.topic, identity, record.partition, record.offset)
        decision = self._mappers[record.topic].decide(record, event_id, self._clock())
        for made in decision.records:
            writer.append(made.topic, made.key, made.value)
            metrics.BRIDGED_RECORDS.labels(made.kind).inc()
            if made.kind == Interaction.kind:
                metrics.EVENTS.labels("bridge").inc()
        if decision.dropped is not None:
            self._drop(record, decision.dropped)
        if decision.refusal is None:
            return []
        letter = dead_letter(record, decision.refusal, event_id)
        writer.append(self._topics.dead_letters, *letter)
        self._refusals.add(record, decision.refusal)
        return [letter]

    def _drop(self, record: Record, reason: str) -> None:
        metrics.DROPPED_RECORDS.labels(reason).inc()
        if reason not in self._known_drops:
            self._known_drops.add(reason)
            log.info("first record left out: %s/%d: %s", record.source, record.offset, reason)
