"""The learn daemon: reads interactions and items, learns, journals, checkpoints, publishes.

It may be killed at any moment: a restart takes the newest readable checkpoint, learns the
journalled batches after it a second time, bit for bit, and goes on.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from itertools import chain

from consumers.learn.commits import Cadences, Commits
from consumers.learn.loop import run as run_loop
from consumers.learn.orders import CommandReader
from consumers.learn.schedule import Cadence
from pipeline import metrics
from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.config import Settings
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, LogWriter
from pipeline.eventlog.topics import Topics
from pipeline.journal.batch_source import BatchSource
from pipeline.journal.entry import read_journal
from pipeline.journal.position import first_position
from pipeline.signals import stop_requested
from pipeline.snapshots.publisher import Publisher
from pipeline.snapshots.store import SnapshotStore

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Learn until SIGTERM or SIGINT.

    Raises:
        TopicError: the topics are missing or not as the settings want them.
        OffsetsExpired: the log has lost records that the journal names.
        SnapshotsAhead: the snapshot store is another log's.
        Fenced: another learner has taken over.
    """
    stop = stop_requested()
    metrics.serve_metrics(settings.metrics.host, settings.metrics.learn)
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        topics = Topics(settings.log.prefix)
        topics.check(event_log, *settings.log.topic_sizes)
        learn(settings, event_log, topics, stop)
    log.info("learner stopped")


def learn(settings: Settings, event_log: EventLog, topics: Topics, stop: threading.Event) -> None:
    """Restore the newest checkpoint, recover the batches after it, then learn until `stop` is set."""
    learner, supervisor = make_learner(settings), make_supervisor(settings)
    mark = fingerprint(learner, supervisor)
    checkpoints = checkpoints_of(settings)
    with event_log.fenced_writer(topics.journal, owner="learn") as journal, event_log.writer() as writer:
        start = checkpoints.restore(learner, supervisor)
        start = start or first_position(event_log, topics, journal, mark)
        log.info("learner starts after %s", start.version)
        entries = read_journal(event_log, topics.journal, start.journal)
        with (
            closing(BatchSource(event_log, topics, start, learner.first_seen)) as batches,
            closing(CommandReader(event_log, topics, writer, checkpoints, learner.another)) as orders,
        ):
            turns = chain(
                batches.recover(entries), batches.new(journal, settings.batch, orders, mark, stop.is_set)
            )
            publisher = _publisher(settings, topics, writer)
            commits = Commits(
                learner, supervisor, topics.prefix, event_log, publisher, checkpoints, _cadences(settings)
            )
            run_loop(turns, learner, supervisor, commits, checkpoints)


def _publisher(settings: Settings, topics: Topics, writer: LogWriter) -> Publisher:
    snapshots = settings.snapshots
    store = SnapshotStore(snapshots.store, settings.log.prefix)
    return Publisher(store, writer, topics, snapshots.full_every, snapshots.keep)


def _cadences(settings: Settings) -> Cadences:
    snapshots, checkpoints = settings.snapshots, settings.checkpoints
    return Cadences(
        publish=Cadence(snapshots.seconds, snapshots.events),
        checkpoint=Cadence(checkpoints.seconds, checkpoints.events),
    )
