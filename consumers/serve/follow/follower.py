"""The follower: one thread that reads the log, loads snapshots, and publishes Views to requests.

It starts from the newest snapshot and the histories, reads the catalogue and the tail up to
the end of the log, publishes the first View, and continues. It alone owns this state. When it
fails, the server must exit, because it would otherwise serve stale answers without a warning.

A log that is away, or has been replaced by another one, is no failure: the last View stays, and
the server says that it is degraded. A replaced log is followed once the learner has published a
snapshot of it: offsets and histories of the old one mean nothing there.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from threading import Event

from consumers.serve.follow.log_check import LogCheck
from consumers.serve.follow.one_snapshot import SnapshotSource
from consumers.serve.follow.pace import Pace
from consumers.serve.follow.steering_letters import SteeringLetters
from consumers.serve.state.current import CurrentState, Degradation
from consumers.serve.state.item_index import ItemIndex
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import DEDUPE_WINDOW, HistoryPosition, ServingState
from consumers.serve.state.steering import Steering
from consumers.serve.state.tail import MAX_EVENTS, TailEvent
from pipeline import metrics, tracing
from pipeline.clock import now_ms
from pipeline.config import RetrievalConfig, SignalsConfig
from pipeline.errors import (
    LogUnavailable,
    MillstreamError,
    OffsetsExpired,
    RecordsLost,
    TopicError,
    TopicRenewed,
)
from pipeline.eventlog.patience import wait_until_back
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
from pipeline.eventlog.refusal_log import RefusalLog
from pipeline.eventlog.replaced import same_topics
from pipeline.eventlog.topic_watch import TopicWatch
from pipeline.eventlog.topics import Topics
from pipeline.model.content.text import TextEncoder
from pipeline.snapshots.history_records import read_history_record
from pipeline.state.histories import Histories
from pipeline.wording import counted

MAX_RECORDS = 2_000
"""Records per poll."""
TEXTS_PER_STEP = 32
"""Encoding them takes some tenths of a second on a CPU; no event is read meanwhile."""
REPORT_SECONDS = 1.0
PING_SECONDS = 1.0
GROWTH = 10_000
LEAST_ITEMS = 100
"""Items after which what is kept is set apart from the garbage collector again; some 100 ms."""
RETRY_SECONDS = 1.0
"""Between two looks at a log that was replaced, of some cheap requests and the snapshots topic each."""

log = logging.getLogger(__name__)


class Follower:
    """Keeps a `CurrentState` up to date with the log and the announced snapshots."""

    def __init__(
        self,
        event_log: EventLog,
        topics: Topics,
        watcher: SnapshotSource,
        current: CurrentState,
        history_length: int,
        poll_seconds: float,
        signals: SignalsConfig = SignalsConfig(),  # noqa: B008 (frozen)
        retrieval: RetrievalConfig = RetrievalConfig(),  # noqa: B008 (frozen)
        owner_attribute: str | None = None,
    ) -> None:
        """`owner_attribute` is that of the settings, which items should have."""
        self._log = event_log
        self._topics = topics
        self._inputs = topics.interactions, topics.items
        self._compacted = topics.items, topics.users, topics.rules
        self._watcher = watcher
        self._current = current
        self._history_length = history_length
        self._poll_seconds = poll_seconds
        self._signals = signals
        self._retrieval = retrieval
        self._owner_attribute = owner_attribute
        self._snapshot: LoadedSnapshot | None = None
        self._check = LogCheck(event_log, self._inputs)
        self._encoder: TextEncoder
        self._report_at = 0.0
        self._items_apart = 0
        self._learned_before = 0
        self._refusals = RefusalLog("serve")
        self._letters = SteeringLetters(event_log, topics, RefusalLog("serve"))

    def run(self, make_encoder: Callable[[], TextEncoder], stop: Event) -> None:
        """Follow the log until `stop` is set.

        Args:
            make_encoder: called in this thread, which then owns the encoder's cache.
            stop: checked at least once a second.

        While the log is away or another one, requests are answered from memory.

        """
        with ExitStack() as ending:
            ending.callback(gc.unfreeze)
            self._encoder = ending.enter_context(closing(make_encoder()))
            while not stop.is_set():
                try:
                    self._follow(stop)
                except OffsetsExpired as error:
                    metrics.EXPIRED_READS.labels("serve").inc()
                    log.error("reading again from the snapshot, without the expired records: %s", error)
                except TopicRenewed as error:
                    log.warning("reading again from the snapshot: %s", error)
                except (RecordsLost, TopicError) as error:
                    self._degrade(error)
                    stop.wait(RETRY_SECONDS)
                except LogUnavailable as error:
                    self._degrade(error)
                    wait_until_back(self._log, stop)

    def _degrade(self, error: MillstreamError) -> None:
        """Say that nothing newer can be read; each reason once."""
        before = self._current.degradation
        if before is None or before.reason != str(error):
            without = "answers come from memory" if self._current.view else "there are no answers yet"
            log.warning("the event log cannot be followed, %s: %s", without, error)
            self._current.degradation = Degradation(before.since if before else time.time(), str(error))
            metrics.DEGRADED.set(1)

    def _recover(self) -> None:
        """Say that the log is followed, if it was not."""
        if self._current.degradation is not None:
            log.warning("the event log is followed again")
            self._current.degradation = None
            metrics.DEGRADED.set(0)

    def _use(self, snapshot: LoadedSnapshot) -> None:
        """Serve another snapshot from now on, and encode texts with its adapter."""
        self._snapshot = snapshot
        self._encoder = self._encoder.adapted(snapshot.encoder)

    def _begin(self) -> None:
        """Begin with the newest snapshot that can be served.

        Raises:
            RecordsLost: all snapshots were learned from another log than this one.
            TopicError: a topic is missing.
        """
        self._watcher.observe(read(self._log, self._topics.snapshots))
        newest = self._watcher.load_newest(self._check)
        if newest is not None:
            self._use(newest)
        lost = self._check.fault_of(self._snapshot) if self._snapshot else self._check.refused
        if lost:
            raise RecordsLost(lost)

    def _follow(self, stop: Event) -> None:
        """Read from the snapshot's offsets, until stopped or until a snapshot needs older records."""
        watch = TopicWatch(self._log, self._topics.served)
        self._begin()
        histories, ends_of_histories = self._read_histories()
        # Read after the histories, so that no history reaches beyond these ends.
        ends = self._log.end_offsets(self._topics.served)
        steering = Steering(self._topics.users, self._topics.rules, self._letters.add)
        state = ServingState(
            self._snapshot,
            histories,
            ends_of_histories,
            self._inputs,
            self._refusals,
            self._signals,
            steering,
            self._retrieval,
        )
        with self._log.reader(self._start_offsets(ends)) as reader:
            while _has_unread(reader.positions(), ends):
                if stop.is_set():
                    return
                state.read(self._poll(reader, timeout_seconds=1.0))
            views = Pace(partial(self._publish_view, reader, state, histories, steering))
            views.now()
            gc.unfreeze()  # what an earlier reading has left
            self._set_apart()
            self._recover()
            while not stop.is_set() and state.snapshot is self._snapshot:
                self._step(reader, state, views, watch)

    def _step(self, reader: LogReader, state: ServingState, views: Pace, watch: TopicWatch) -> None:
        """Read new records, load a newer snapshot, encode some new texts; publish each when its time is."""
        records = self._poll(reader, 0 if state.pending_texts else self._poll_seconds)
        if records:
            self._observe(state.read(records), time.time())
        views.when_due(bool(records))
        started = time.monotonic()
        snapshot = self._watcher.load_newest(self._check, self._snapshot)
        if snapshot is not None:
            # A whole one shares nothing with what is served: requests go on while it is made ready.
            with self._current.lock.swapping() if snapshot.update else nullcontext():
                self._swap(state, snapshot, watch.ids)
                views.now()
            metrics.SWAP_SECONDS.observe(time.monotonic() - started)
        views.when_due(bool(state.encode(self._encoder, TEXTS_PER_STEP)))
        self._report(reader.positions(), watch)

    def _swap(self, state: ServingState, snapshot: LoadedSnapshot, topic_ids: Mapping[str, str]) -> None:
        """Replace the snapshot of the state.

        One that has learned less, or from other topics than those with `topic_ids`, needs a new state.
        """
        before, began = self._snapshot, time.time()
        self._use(snapshot)  # one that is read again is whole: see `SnapshotLoader.load`
        if not same_topics(snapshot.manifest.topic_ids, topic_ids):
            log.info("snapshot %s was learned from other topics: reading again", snapshot.version)
        elif before is not None and _has_learned_less(snapshot.offsets, before.offsets):
            log.info("snapshot %s has learned less than its parent: reading again", snapshot.version)
            self._learned_before = max(self._learned_before, before.manifest.learned_through)
        else:
            self._observe(state.replace_snapshot(snapshot), began)
            self._snapshot = state.snapshot

    def _observe(self, learned: Sequence[TailEvent], began: float) -> None:
        """Observe the time from an event's append until the served weights have learned it.

        Events that weights had learned before a rollback are no news when they are learned again.
        """
        now, snapshot = time.time(), self._snapshot
        for event in learned:
            if event.append_time > self._learned_before:
                exemplar = tracing.exemplar(event.traced) if event.traced else None
                metrics.SERVED_FRESHNESS.observe(max(0.0, now - event.append_time / 1000), exemplar)
        if tracing.is_on() and snapshot is not None:
            self._current.followed.swapped(learned, began, str(snapshot.version))

    def _poll(self, reader: LogReader, timeout_seconds: float) -> list[Record]:
        """Return the next records, and pass the announcements among them to the watcher."""
        records = reader.poll(MAX_RECORDS, timeout_seconds)
        self._watcher.observe(record for record in records if record.topic == self._topics.snapshots)
        events = sum(record.topic == self._topics.interactions for record in records)
        metrics.EVENTS.labels("serve").inc(events)
        return records

    def _publish_view(
        self, reader: LogReader, state: ServingState, histories: Histories, steering: Steering
    ) -> None:
        """Make everything read so far visible to requests."""
        positions = reader.positions()
        state.positions = {s: offset for s, offset in positions.items() if s.topic != self._topics.snapshots}
        before, view = self._current.view, state.view()
        self._current.replace(view, histories, state.updated_histories, state.updated_older, steering)
        state.updated_histories, state.updated_older = {}, {}
        if before is None:
            found = {"items": len(view.index), "users": self._current.users}
            said = counted(found["items"], "item"), counted(found["users"], "user")
            log.info("caught up with the log: %s, %s", *said, extra=found)
            self._look_for_owners(view.index)
        if view.snapshot is not None and (before is None or before.snapshot is not view.snapshot):
            metrics.SWAPS.inc()
            metrics.GENERATION.labels("serve").set(view.snapshot.version.generation)
            metrics.STEP.labels("serve").set(view.snapshot.version.step)
            version = str(view.snapshot.version)
            log.info("serving snapshot %s", version, extra={"snapshot": version})

    def _look_for_owners(self, index: ItemIndex) -> None:
        """Warn if no item has the attribute that names owners, unless there are few items."""
        owner = self._owner_attribute
        if owner is not None and len(index) >= LEAST_ITEMS and not index.columns.of(owner).rows.size:
            log.warning(
                "serve.owner_attribute = %r: none of %s items has it, so users are recommended what is their "
                "own; set the name that items have, or take it out",
                owner,
                f"{len(index):,}",
            )

    def _read_histories(self) -> tuple[Histories, dict[str, HistoryPosition]]:
        """Read the users' histories, and for each where it ends.

        A damaged record costs the history of its user, whose id is not logged.
        """
        histories, ends = Histories(self._history_length), dict[str, HistoryPosition]()
        for user, record in read_compacted(self._log, self._topics.histories).items():
            try:
                history, offset, older = read_history_record(user, record.value or b"")
            except ValueError:
                metrics.REFUSED_HISTORIES.inc()
                log.error(
                    "%s/%s is refused: damaged or out of bounds; this user's history begins empty, until the "
                    "learner has published it again",
                    record.source,
                    record.offset,
                )
            else:
                histories.put(user, history, older)
                ends[user] = HistoryPosition(record.partition, offset)
        return histories, ends

    def _start_offsets(self, ends: Offsets) -> dict[TopicPartition, int]:
        """Return where to start: interactions near the snapshot's end, all else at its begin.

        Interactions start `DEDUPE_WINDOW` before that end, so that a late server recognises the
        same duplicates as an early one.
        """
        begins = self._log.begin_offsets([*self._compacted, self._topics.snapshots])
        held = self._log.begin_offsets([self._topics.interactions])
        most = MAX_EVENTS // len(held)
        starts = dict(begins)
        for source, begin in held.items():
            learned = self._snapshot.offsets.get(source, 0) if self._snapshot else 0
            first = max(begin, ends[source] - most)
            if learned < first:
                log.warning(
                    "%s: records %s to %s are not counted: too many, or expired", source, learned, first
                )
            starts[source] = min(max(first, learned - DEDUPE_WINDOW), ends[source])
        return starts

    def _set_apart(self) -> None:
        """Keep what there is, once without garbage, out of all further collections.

        One that goes through catalogue and histories stops all threads: 1.4 s at 100,000 items, measured on a
        busy machine.
        """
        gc.collect()
        gc.freeze()
        self._items_apart = self._items

    @property
    def _items(self) -> int:
        return len(self._current.view.index) if self._current.view else 0

    def _report(self, positions: Offsets, watch: TopicWatch) -> None:
        """Check the topics and update the gauges, about once a second."""
        now, view = time.monotonic(), self._current.view
        if now < self._report_at or view is None:
            return
        self._report_at = now + REPORT_SECONDS
        if self._items - self._items_apart >= GROWTH:
            self._set_apart()
        self._refusals.settle()
        self._letters.settle(positions)
        try:
            self._log.ping(PING_SECONDS)
            watch.check()  # after the ping, because an answer of a log that is away is waited for
            ends = self._log.end_offsets(self._topics.served)
        except LogUnavailable as error:
            self._degrade(error)
            return
        self._recover()
        metrics.LAG.labels("serve").set(sum(lag(ends, positions).values()))
        metrics.STALENESS.set(view.staleness(now_ms()))
        metrics.ITEMS.labels("serve").set(len(view.index))
        metrics.USERS.labels("serve").set(self._current.users)


def _has_unread(positions: Offsets, ends: Offsets) -> bool:
    return any(positions[source] < end for source, end in ends.items())


def _has_learned_less(offsets: Offsets, than: Offsets) -> bool:
    """Whether a snapshot lacks events that another has learned; the tail no longer has them."""
    return any(offsets.get(source, 0) < offset for source, offset in than.items())
