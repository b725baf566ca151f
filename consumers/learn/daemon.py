"""The learn daemon: reads interactions and items, learns, journals, checkpoints, publishes.

It may be killed at any moment: a restart takes the newest readable checkpoint, learns the
journalled batches after it a second time, bit for bit, and goes on.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from pathlib import Path

from consumers.learn.commits import Cadences, Commits, Pending
from consumers.learn.loop import run as run_loop
from consumers.learn.orders import CommandReader
from consumers.learn.schedule import Cadence
from consumers.learn.unused_names import unused_names
from pipeline import metrics
from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.config import Settings
from pipeline.errors import (
    DeliveryError,
    LogUnavailable,
    OffsetsExpired,
    RecordsLost,
    StorageUnavailable,
    TopicError,
    TopicRenewed,
)
from pipeline.eventlog.patience import Pauses, checked
from pipeline.eventlog.port import EventLog, FencedWriter, LogWriter
from pipeline.eventlog.refusal_limit import RefusalLimit
from pipeline.eventlog.replaced import same_topics
from pipeline.eventlog.topic_watch import TopicWatch
from pipeline.eventlog.topics import Topics
from pipeline.journal.batch_source import BatchSource
from pipeline.journal.entry import read_journal
from pipeline.journal.gap import Skip, resume
from pipeline.journal.position import Position, check_position, first_position
from pipeline.journal.turns import Turn
from pipeline.signals import Stopped, stop_requested
from pipeline.snapshots.filesystem import local_path
from pipeline.snapshots.layer_list import LayerList
from pipeline.snapshots.publisher import Publisher
from pipeline.snapshots.store import SnapshotStore
from pipeline.training.weight_groups import weight_groups

log = logging.getLogger(__name__)

LearnTurn = Turn | Skip | None
REMEDY = (
    "mend the producer, then start `millstream learn --accept-refused`, which goes on however many are"
    " refused, or set `refusals.most_share`"
)
PAUSE_SECONDS = 0.5
"""Between two attempts, so that a full disk does not make the daemon spin."""


def run(settings: Settings) -> None:
    """Learn until SIGTERM or SIGINT; wait while the event log is away.

    Raises:
        TopicError: the topics are missing or not as the settings want them.
        RecordsLost: the log has lost records that were not learned, and `log.accept_gap` is false.
        SnapshotsAhead: the snapshot store is another log's.
        Fenced: another learner has taken over.
    """
    stop = stop_requested()
    os.nice(settings.batch.nice)
    metrics.serve_metrics(settings.metrics.host, settings.metrics.learn, settings.serve.reading_keys)
    metrics.watch_free_space(_folders(settings))
    with suppress(Stopped), checked(settings.log, stop) as (event_log, topics):
        LearnDaemon(settings, event_log, topics, stop).run()
    log.info("learner stopped")


def _folders(settings: Settings) -> dict[str, Path]:
    """Return the folders that the learner writes to, on disks of this machine."""
    store = local_path(settings.snapshots.store)
    return {"checkpoints": settings.checkpoints.folder, **({"snapshots": store} if store else {})}


class LearnDaemon:
    """Keeps a learner going: what it has learned stays in memory while the log or the storage is away."""

    def __init__(
        self, settings: Settings, event_log: EventLog, topics: Topics, stop: threading.Event
    ) -> None:
        self._settings, self._log, self._topics, self._stop = settings, event_log, topics, stop
        self._learner, self._supervisor = make_learner(settings), make_supervisor(settings)
        self._fingerprint = fingerprint(self._learner, self._supervisor)
        self._checkpoints = checkpoints_of(settings)
        self._inputs = topics.read_by_learners
        self._position: Position | None = None
        self._unpublished, self._layers = Pending(), LayerList()
        self._pauses = Pauses("learn", "learning pauses", stop)
        self._limit = RefusalLimit("learn", settings.refusals, REMEDY)

    def run(self) -> None:
        """Learn until asked to stop; go on from memory whenever log and storage are back.

        The same reason for a pause is logged once, until there is another one.
        """
        while not self._stop.is_set():
            try:
                self.learn()
            except (DeliveryError, LogUnavailable, StorageUnavailable, TopicRenewed) as error:
                self._pauses.pause(error, PAUSE_SECONDS, self._log)
            except OffsetsExpired as error:
                if error.topic not in self._inputs:
                    raise
                # What is lost is found out at the next attempt.
                self._pauses.pause(error, PAUSE_SECONDS, self._log)
            except (RecordsLost, TopicError):
                self._keep()
                raise

    def _keep(self) -> None:
        """Checkpoint what was learned from topics that are gone: it cannot be learned again."""
        at = self._position
        if at is not None and not same_topics(at.topic_ids, self._log.topic_ids(self._inputs)):
            self._checkpoints.write(capture(self._learner, self._supervisor, at))

    def learn(self) -> None:
        """Restore the newest checkpoint the first time, recover the batches after it, then learn.

        Raises:
            InvalidSettings: the snapshot store cannot be opened.
        """
        event_log, topics, learner = self._log, self._topics, self._learner
        store = SnapshotStore.of(self._settings.snapshots, topics.prefix)  # first: it may be refused
        with event_log.fenced_writer(topics.journal, owner="learn") as journal, event_log.writer() as writer:
            watch, before = TopicWatch(event_log, self._inputs), self._start(journal)
            accepts = self._settings.log.accept_gap
            start = resume(event_log, topics, journal, before, self._fingerprint, accepts=accepts)
            log.info("learner starts after %s", start.version)
            log.info("%s", weight_groups(learner.recommender, learner.encoder.backbone.model))
            skips = [Skip(start, before)] if start.version != before.version else []
            entries = read_journal(event_log, topics.journal, start.journal)
            with (
                closing(BatchSource(event_log, topics, start, learner.first_seen)) as batches,
                closing(
                    CommandReader(event_log, topics, writer, self._checkpoints, learner.another)
                ) as orders,
            ):
                new = batches.new(
                    journal,
                    self._settings.batch,
                    orders,
                    self._fingerprint,
                    self._stop.is_set,
                    self._limit,
                    learner.has_new_text,
                    reads_users=bool(learner.born.sizes.user_attributes),
                )
                turns = self._watched(
                    chain(skips, orders.with_states(batches.recover(entries)), new), watch, orders
                )
                self._run_loop(turns, self._publisher(store, writer), start)

    def _start(self, journal: FencedWriter) -> Position:
        """Where to go on: where memory, or else the newest checkpoint, or else the journal begins."""
        check = partial(check_position, self._log, self._topics)
        start = self._position or self._checkpoints.restore(self._learner, self._supervisor, check=check)
        return start or first_position(self._log, self._topics, journal, self._fingerprint)

    def _watched(
        self, turns: Iterable[LearnTurn], watch: TopicWatch, orders: CommandReader
    ) -> Iterator[LearnTurn]:
        """Yield the turns, check the topics at each, and say once that nothing is left to learn."""
        is_behind = True
        for turn in turns:
            watch.check()
            if is_behind and turn is None and not (self._limit.is_exceeded or orders.is_paused):
                is_behind = False
                log.info("caught up with the log")
                self._look_for_names()
            yield turn

    def _look_for_names(self) -> None:
        """Warn of names in the settings that nothing has."""
        learner = self._learner
        for fault in unused_names(learner.config.sizes, learner.stream.catalogue, learner.stream.profiles):
            log.warning("%s, so nothing is learned of it: is it misspelt?", fault)

    def _publisher(self, store: SnapshotStore, writer: LogWriter) -> Publisher:
        config = self._settings.snapshots
        return Publisher(store, writer, self._topics, config.keep, self._layers, config.compression)

    def _run_loop(self, turns: Iterable[LearnTurn], publisher: Publisher, start: Position) -> None:
        commits = Commits(
            self._learner,
            self._supervisor,
            self._topics.prefix,
            self._log,
            publisher,
            self._checkpoints,
            _cadences(self._settings),
            self._unpublished,
            start,
        )
        try:
            run_loop(
                turns,
                self._learner,
                self._supervisor,
                commits,
                self._checkpoints,
                self._settings.policy.arms,
                self._settings.metrics.group,
            )
        finally:
            self._position = commits.position or self._position
            self._unpublished = commits.unpublished()


def _cadences(settings: Settings) -> Cadences:
    snapshots, checkpoints = settings.snapshots, settings.checkpoints
    return Cadences(
        publish=Cadence(snapshots.seconds, snapshots.events),
        checkpoint=Cadence(checkpoints.seconds, checkpoints.events),
    )
