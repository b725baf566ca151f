"""Rebuild: the learner as the journal says it must be, now or at an earlier version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from pipeline.checkpoints.store import Checkpoints
from pipeline.errors import TopicError
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.journal.batch_source import BatchSource, StateSwitch
from pipeline.journal.entry import JournalEntry, read_journal
from pipeline.journal.position import Position, beginning
from pipeline.snapshots.snapshot import Version
from pipeline.training.learner import Learner

Entries = Iterator[tuple[JournalEntry, int]]


def rebuild(
    event_log: EventLog,
    topics: Topics,
    learner: Learner,
    checkpoints: Checkpoints,
    *,
    from_nothing: bool = False,
    until: Version | None = None,
    progress: Callable[[int], None] = lambda events: None,
) -> Position:
    """Make a new learner what it was at a version, or is now; writes nothing to the log.

    Args:
        event_log, topics: where journal and events are.
        learner: one that has seen nothing.
        checkpoints: where to begin, and where adopted states are.
        from_nothing: begin at the journal's beginning: the proof that recovery is right.
        until: the last version that counts.
        progress: called with the number of interactions of each batch.

    Returns:
        Where it stands; of versions that the journal knows, the last up to `until`.

    Raises:
        TopicError: nothing was ever learned.
        CheckpointCorrupt: the journal has lost its beginning, or an adopted state is gone.
        OffsetsExpired: the log does not hold the journal's records any more.
    """
    position = None if from_nothing else checkpoints.restore(learner, until)
    entries = read_journal(event_log, topics.journal, position.journal if position else None)
    if position is None:
        first = next(entries, None)
        if first is None:
            raise TopicError(f"{topics.journal} is empty: start `millstream learn` first")
        position = beginning(topics, *first)
    with closing(BatchSource(event_log, topics, position, learner.first_seen)) as batches:
        for turn in batches.recover(_up_to(until, entries)):
            if isinstance(turn, StateSwitch):
                checkpoints.adopt(learner, turn)
            else:
                learner.watch(turn.micro, learner.score_and_learn(turn.micro))
                progress(len(turn.micro.interactions))
            position = turn.position
    return position


def _up_to(until: Version | None, entries: Entries) -> Entries:
    for entry, after in entries:
        if until is not None and Version.parse(entry.version) > until:
            return
        yield entry, after
