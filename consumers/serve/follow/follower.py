"""The follower: one thread that reads the log, takes snapshots, and shows the next View.

It begins with the newest snapshot and the histories, reads the catalogue and the tail up to
the log's end, shows the first View, and goes on. All state is its own; when it dies, the
server must, so that nobody is served stale answers in silence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from threading import Event

from consumers.serve.follow.snapshot_watcher import SnapshotWatcher
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import DEDUPE_WINDOW, ServingState
from consumers.serve.state.tail import MOST_EVENTS, TailEvent
from pipeline import metrics
from pipeline.errors import OffsetsExpired
from pipeline.eventlog.port import (
    EventLog,
    LogReader,
    Offsets,
    Record,
    TopicPartition,
    lag,
    read,
    read_compacted,
)
from pipeline.eventlog.topics import Topics
from pipeline.model.content.adapter import NO_ADAPTER
from pipeline.model.content.text import TextEncoder
from pipeline.state.histories import Histories, decode_history

MOST_RECORDS = 2_000
TEXTS_AT_ONCE = 32
"""Some tenths of a second on a CPU, during which no event is read."""
REPORT_SECONDS = 1.0

log = logging.getLogger(__name__)


class Follower:
    """Keeps a `Live` up to date with the log and the announced snapshots."""

    def __init__(
        self,
        event_log: EventLog,
        topics: Topics,
        watcher: SnapshotWatcher,
        current: CurrentState,
        history_length: int,
        poll_seconds: float,
    ) -> None:
        self._log = event_log
        self._topics = topics
        self._watcher = watcher
        self._current = current
        self._history_length = history_length
        self._poll_seconds = poll_seconds
        self._base: LoadedSnapshot | None = None
        self._encoder: TextEncoder
        self._report_at = 0.0

    def run(self, make_encoder: Callable[[], TextEncoder], stop: Event) -> None:
        """Follow until told to stop.

        Args:
            make_encoder: called in this thread, to which the encoder's cache then belongs.
            stop: looked at at least once a second.

        Raises:
            LogUnavailable: the log refuses to answer.
            OSError: the snapshot store does not answer at the start.
        """
        with closing(make_encoder()) as self._encoder:
            self._watcher.hear(read(self._log, self._topics.snapshots))
            self._take(self._watcher.take() or self._watcher.older())
            while not stop.is_set():
                try:
                    self._follow(stop)
                except OffsetsExpired as error:
                    metrics.EXPIRED_READS.labels("serve").inc()
                    log.error("reading begins again without the records that were lost: %s", error)

    def _take(self, base: LoadedSnapshot | None) -> None:
        """Serve another base from here on, and encode texts as it encodes them."""
        self._base = base
        self._encoder = self._encoder.adapted(base.encoder if base else NO_ADAPTER)

    def _follow(self, stop: Event) -> None:
        """Read from the base on, until told to stop or until another base needs older records."""
        histories, reached = self._histories()
        topics = (self._topics.interactions, self._topics.items)
        # After the histories were read: whatever they reach lies before these ends.
        ends = self._log.end_offsets(topics)
        state = ServingState(self._base, histories, reached, topics)
        with self._log.reader(self._starts(ends)) as reader:
            while _behind(reader.positions(), ends):
                if stop.is_set():
                    return
                state.read(self._poll(reader, timeout_seconds=1.0))
            self._show(reader, state, histories)
            while not stop.is_set() and state.base is self._base:
                self._step(reader, state, histories)

    def _step(self, reader: LogReader, state: ServingState, histories: Histories) -> None:
        """Read what is new; take a newer snapshot; encode some new texts; show each at once."""
        records = self._poll(reader, 0 if state.pending_texts else self._poll_seconds)
        if records:
            _observe_freshness(state.read(records))
            self._show(reader, state, histories)
        started = time.monotonic()
        base = self._watcher.take()
        if base is not None:
            self._swap(state, base)
            self._show(reader, state, histories)
            metrics.SWAP_SECONDS.observe(time.monotonic() - started)
        if state.encode(self._encoder, TEXTS_AT_ONCE):
            self._show(reader, state, histories)
        self._report(reader.positions())

    def _swap(self, state: ServingState, base: LoadedSnapshot) -> None:
        before = self._base
        self._take(base)
        if before is not None and _goes_back(before.offsets, base.offsets):
            log.info("snapshot %s has learned less than its parent: reading begins again", base.version)
        else:
            _observe_freshness(state.rebase(base))

    def _poll(self, reader: LogReader, timeout_seconds: float) -> list[Record]:
        """The next records; announcements among them are heard."""
        records = reader.poll(MOST_RECORDS, timeout_seconds)
        self._watcher.hear(record for record in records if record.topic == self._topics.snapshots)
        events = sum(record.topic == self._topics.interactions for record in records)
        metrics.EVENTS.labels("serve").inc(events)
        return records

    def _show(self, reader: LogReader, state: ServingState, histories: Histories) -> None:
        """Let requests see all that was read."""
        positions = reader.positions()
        state.positions = {s: offset for s, offset in positions.items() if s.topic != self._topics.snapshots}
        before, view = self._current.view, state.view()
        self._current.show(view, histories, state.ahead)
        state.ahead = {}
        if before is None:
            log.info("caught up with the log: %s items, %s users", len(view.index), self._current.users)
        if view.base is not None and (before is None or before.base is not view.base):
            metrics.SWAPS.inc()
            metrics.GENERATION.labels("serve").set(view.base.version.generation)
            metrics.STEP.labels("serve").set(view.base.version.step)
            log.info("serving snapshot %s", view.base.version)

    def _histories(self) -> tuple[Histories, dict[str, int]]:
        """The users' histories, and the offset of their partition that each reaches."""
        histories, reached = Histories(self._history_length), {}
        for user, record in read_compacted(self._log, self._topics.histories).items():
            assert record.value is not None
            history, reached[user] = decode_history(record.value)
            histories.put(user, history)
        return histories, reached

    def _starts(self, ends: Offsets) -> dict[TopicPartition, int]:
        """Where to begin: all items and announcements; interactions a little before the base's end.

        That little is what an early server still knows duplicates from.
        """
        begins = self._log.begin_offsets([self._topics.items, self._topics.snapshots])
        held = self._log.begin_offsets([self._topics.interactions])
        most = MOST_EVENTS // len(held)
        starts = dict(begins)
        for source, begin in held.items():
            learned = self._base.offsets.get(source, 0) if self._base else 0
            first = max(begin, ends[source] - most)
            if learned < first:
                log.warning(
                    "%s: records %s to %s are not counted: too many, or expired", source, learned, first
                )
            starts[source] = min(max(first, learned - DEDUPE_WINDOW), ends[source])
        return starts

    def _report(self, positions: Offsets) -> None:
        """Gauges, about once a second."""
        now, view = time.monotonic(), self._current.view
        if now < self._report_at or view is None:
            return
        self._report_at = now + REPORT_SECONDS
        ends = self._log.end_offsets([self._topics.interactions, self._topics.items])
        metrics.LAG.labels("serve").set(sum(lag(ends, positions).values()))
        metrics.STALENESS.set(view.staleness(int(time.time() * 1000)))
        metrics.ITEMS.labels("serve").set(len(view.index))
        metrics.USERS.labels("serve").set(self._current.users)


def _behind(positions: Offsets, ends: Offsets) -> bool:
    return any(positions[source] < end for source, end in ends.items())


def _goes_back(before: Offsets, after: Offsets) -> bool:
    """Whether events that one snapshot has learned, and that are dropped, are new to another."""
    return any(after.get(source, 0) < offset for source, offset in before.items())


def _observe_freshness(learned: Iterable[TailEvent]) -> None:
    """From append until the weights that are served have learned it."""
    now = time.time()
    for event in learned:
        metrics.SERVED_FRESHNESS.observe(max(0.0, now - event.append_time / 1000))
