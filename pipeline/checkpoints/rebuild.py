"""Rebuild: make a learner from the journal, as it is now or was at an earlier version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from pipeline.checkpoints.store import KEEP_ADOPTED, Checkpoints
from pipeline.errors import CheckpointCorrupt, TopicError
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.journal.batch_source import BatchSource, StateSwitch
from pipeline.journal.entry import JournalEntry, read_journal
from pipeline.journal.position import Position, beginning
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.snapshot import Version
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise

Entries = Iterator[tuple[JournalEntry, int]]


def rebuild(
    event_log: EventLog,
    topics: Topics,
    learner: Learner,
    supervisor: Supervisor | None,
    checkpoints: Checkpoints,
    *,
    from_nothing: bool = False,
    since: Version | None = None,
    until: Version | None = None,
    progress: Callable[[int], None] = lambda events: None,
) -> Position:
    """Make a new learner what it was at a version, or is now; write nothing to the log.

    Args:
        event_log, topics: where journal and events are.
        learner: one that has seen nothing.
        supervisor: one that has seen nothing; None if its state is not needed.
        checkpoints: give the state to begin from, and the adopted states.
        from_nothing: begin at the start of the journal instead, which proves that recovery is right.
        since: begin at the checkpoint of this version instead.
        until: the last version to learn.
        progress: called with the number of interactions of each batch.

    Returns:
        The learner's position: of the versions in the journal, the last up to `until`.

    Raises:
        TopicError: nothing was ever learned.
        CheckpointCorrupt: the journal has lost its beginning, there is no checkpoint of `since`, or an
            adopted state is gone; names the first version that a rebuild can begin from.
        OffsetsExpired: the log does not hold the journal's records any more.
    """
    if since is not None:
        position: Position | None = checkpoints.restore_version(learner, supervisor, since)
    else:
        position = None if from_nothing else checkpoints.restore(learner, supervisor, until)
    entries = read_journal(event_log, topics.journal, position.journal if position else None)
    if position is None:
        first = next(entries, None)
        if first is None:
            raise TopicError(f"{topics.journal} is empty: start `millstream learn` first")
        position = beginning(topics, *first)
    with closing(BatchSource(event_log, topics, position, learner.first_seen)) as batches:
        for turn in batches.recover(_up_to(until, entries)):
            if isinstance(turn, StateSwitch):
                _adopt(event_log, topics, learner, supervisor, checkpoints, turn)
            else:
                scores = learner.score_and_learn(turn.micro)
                if supervisor is not None:
                    supervise(supervisor, learner, turn.micro, scores)
                progress(len(turn.micro.interactions))
            position = turn.position
    return position


def _adopt(
    event_log: EventLog,
    topics: Topics,
    learner: Learner,
    supervisor: Supervisor | None,
    checkpoints: Checkpoints,
    switch: StateSwitch,
) -> None:
    try:
        checkpoints.adopt(learner, supervisor, switch)
    except CheckpointCorrupt as error:
        first = first_after_gone_states(event_log, topics, checkpoints)
        way_out = f"millstream rebuild --from {first}" if first else "wait for the next checkpoint"
        raise CheckpointCorrupt(
            f"{switch.position.version} went on from {switch.adopts.state}, which is gone ({error}); only "
            f"the last {KEEP_ADOPTED} adopted states are kept. What came later can be rebuilt: {way_out}"
        ) from error


def first_after_gone_states(event_log: EventLog, topics: Topics, checkpoints: Checkpoints) -> str | None:
    """Return the version of the oldest checkpoint after which the journal needs no state that is gone."""
    gone = 0
    for entry, after in read_journal(event_log, topics.journal):
        if entry.adopts is not None and not checkpoints.has_state(entry.adopts.state):
            gone = after
    later = (position for position in checkpoints.positions() if position.journal >= gone)
    return next((position.version for position in later), None)


def _up_to(until: Version | None, entries: Entries) -> Entries:
    for entry, after in entries:
        if until is not None and Version.parse(entry.version) > until:
            return
        yield entry, after
