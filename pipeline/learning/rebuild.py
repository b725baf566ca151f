"""Rebuild: the learner as the journal says it must be, from nothing; the proof of recovery."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from pipeline.config import Settings
from pipeline.errors import TopicError
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.learning.assembly import make_learner
from pipeline.learning.batches import Batches, beginning
from pipeline.learning.frozen import Frozen, freeze
from pipeline.learning.journal import read_journal


def rebuild(
    settings: Settings, event_log: EventLog, progress: Callable[[int], None] = lambda events: None
) -> Frozen:
    """Learn everything that the journal names; reads only, and needs no checkpoint.

    Raises:
        TopicError: nothing was ever learned.
        CheckpointCorrupt: the journal has lost its beginning.
        OffsetsExpired: the log does not hold the journal's records any more.
    """
    topics = Topics(settings.log.prefix)
    entries = read_journal(event_log, topics.journal)
    first = next(entries, None)
    if first is None:
        raise TopicError(f"{topics.journal} is empty: start `millstream learn` first")
    learner = make_learner(settings)
    position = beginning(topics, *first)
    with closing(Batches(event_log, topics, learner.stream, position)) as batches:
        for batch in batches.again(entries):
            learner.watch(batch.micro, learner.score_and_learn(batch.micro))
            progress(len(batch.micro.interactions))
            position = batch.position
    return freeze(learner, position)
