"""The learn daemon: reads interactions and items, learns, journals, checkpoints, publishes.

It may be killed at any moment: a restart takes the newest good checkpoint, learns the
journalled batches after it again, bit for bit, and goes on.
"""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import closing

from pipeline import metrics
from pipeline.config import Settings
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.learning.assembly import make_learner, shape_of
from pipeline.learning.batches import Batches, fingerprint
from pipeline.learning.checkpoints import Checkpoints
from pipeline.learning.commits import Cadence, Commits
from pipeline.learning.journal import Journal
from pipeline.learning.loop import run as run_loop
from pipeline.learning.publishing import Publisher
from pipeline.snapshots.store import SnapshotStore

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Learn until SIGTERM or SIGINT.

    Raises:
        TopicError: the topics are missing or not as the settings want them.
        OffsetsExpired: the log has lost records that the journal names.
        Fenced: another learner has taken over.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    metrics.serve_metrics(settings.learn.metrics_port)
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        topics = Topics(settings.log.prefix)
        topics.check(event_log, *settings.log.topic_sizes)
        learn(settings, event_log, topics, stopping)
    log.info("learner stopped")


def learn(settings: Settings, event_log: EventLog, topics: Topics, stopping: threading.Event) -> None:
    """Restore, then learn until told to stop."""
    learn_settings = settings.learn
    learner = make_learner(settings.model, learn_settings)
    checkpoints = Checkpoints(learn_settings.checkpoints / settings.log.prefix, settings.log.partitions)
    with closing(Journal(event_log, topics.journal, owner="learn")) as journal, event_log.writer() as writer:
        position = checkpoints.restore(learner)
        log.info(
            "learner starts after %s", f"{position.generation}-{position.step}" if position else "nothing"
        )
        publisher = Publisher(
            SnapshotStore(settings.snapshots, settings.log.prefix),
            writer,
            topics,
            learn_settings.full_snapshot_every,
            learn_settings.keep_snapshots,
        )
        commits = Commits(
            settings.log.prefix,
            event_log,
            publisher,
            checkpoints,
            publish=Cadence(learn_settings.publish_seconds, learn_settings.publish_events),
            checkpoint=Cadence(learn_settings.checkpoint_seconds, learn_settings.checkpoint_events),
        )
        shape = shape_of(settings.model, learn_settings)
        told = fingerprint(shape, learner.encoder.backbone_digest, learner.device)
        batches = Batches(event_log, topics, journal, learner.stream, told)
        most, patience = learn_settings.batch_events, learn_settings.poll_seconds
        run_loop(batches.after(position, most, patience, stopping.is_set), learner, commits)
