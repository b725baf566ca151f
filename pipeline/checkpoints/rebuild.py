"""Rebuild: make a learner from the journal, as it is now or was at an earlier version."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

from pipeline.checkpoints.store import Checkpoints, note_adoption
from pipeline.control.reading import records_of
from pipeline.control.records import Rollback
from pipeline.errors import CheckpointCorrupt, TopicError
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.replaced import same_topics
from pipeline.eventlog.topics import Topics
from pipeline.journal.batch_source import BatchSource
from pipeline.journal.entry import JournalEntry, Verb, read_journal
from pipeline.journal.position import Position, check_position
from pipeline.journal.turns import StateSwitch
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.version import Version
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise

log = logging.getLogger(__name__)

OTHER_SETTINGS = (
    "%s began with other settings, or on another machine or release: what was learned before may come out "
    "otherwise now; `millstream rebuild --from` a checkpoint of its generation compares like with like"
)
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
        CheckpointCorrupt: the journal has lost its beginning, there is no checkpoint of `since`, an
            adopted state is gone that the journal cannot make again, as that of a candidate, or topics were
            made again since; names the first version that a rebuild can begin from.
        OffsetsExpired: the log does not hold the journal's records any more.
    """
    check = partial(check_position, event_log, topics)
    if since is not None:
        position: Position | None = checkpoints.restore_version(learner, supervisor, since, check)
    else:
        position = None if from_nothing else checkpoints.restore(learner, supervisor, until, check)
    entries = read_journal(event_log, topics.journal, position.journal if position else None)
    if position is None:
        first = next(entries, None)
        if first is None:
            raise TopicError(f"{topics.journal} is empty: start `millstream learn` first")
        if first[0].verb is not Verb.START:
            raise CheckpointCorrupt(
                f"{topics.journal} no longer reaches back to its beginning; "
                f"{_way_out(event_log, topics, checkpoints)}"
            )
        position = Position.after(*first)
    _check_topics(event_log, topics, checkpoints, position)
    if supervisor is None:
        entries = _from_last_adoption(event_log, topics, position.journal, until)
    with closing(BatchSource(event_log, topics, position, learner.first_seen)) as batches:
        for turn in batches.recover(_up_to(until, entries)):
            if turn.position.fingerprint != position.fingerprint:
                log.warning(OTHER_SETTINGS, turn.position.version)
            if isinstance(turn, StateSwitch):
                _adopt(event_log, topics, learner, supervisor, checkpoints, turn, from_nothing)
            else:
                scores = learner.score_and_learn(turn.micro)
                if supervisor is not None:
                    supervise(supervisor, learner, turn.micro, scores)
                progress(len(turn.micro.interactions))
            position = turn.position
    return position


def _check_topics(event_log: EventLog, topics: Topics, checkpoints: Checkpoints, position: Position) -> None:
    """Refuse a position whose offsets mean other records now."""
    if not same_topics(position.topic_ids, event_log.topic_ids(topics.read_by_learners)):
        raise CheckpointCorrupt(
            f"what was learned after {position.version} is gone: topics were deleted and made again since; "
            f"{_way_out(event_log, topics, checkpoints)}"
        )


def make_again(
    event_log: EventLog,
    topics: Topics,
    learner: Learner,
    checkpoints: Checkpoints,
    switch: StateSwitch,
    *,
    from_nothing: bool = False,
) -> Position:
    """Make a learner the state that a rollback went on from, and that is gone, from the journal.

    Args:
        learner: any; all its state is replaced.
        from_nothing: as for `rebuild`.

    Raises:
        CheckpointCorrupt: it is a candidate's state, the control topic does not hold the order any more, or
            the journal does not reach back.
        OffsetsExpired: the log does not hold the journal's records any more.
    """
    orders = records_of(event_log, topics, Rollback.decode)
    version = next((order.version for order in orders if order.key == switch.adopts.order), None)
    if version is None:
        raise CheckpointCorrupt("the journal cannot make it again")
    log.warning("%s is gone: %s is learned from the journal again", switch.adopts.state, version)
    learner.reset(learner.born)
    until = Version.parse(version)
    found = rebuild(event_log, topics, learner, None, checkpoints, from_nothing=from_nothing, until=until)
    if found.version != version:
        raise CheckpointCorrupt(f"the journal knows no version {version}, only {found.version} before it")
    return found


def _adopt(
    event_log: EventLog,
    topics: Topics,
    learner: Learner,
    supervisor: Supervisor | None,
    checkpoints: Checkpoints,
    switch: StateSwitch,
    from_nothing: bool,
) -> None:
    try:
        checkpoints.adopt(learner, supervisor, switch)
    except CheckpointCorrupt as error:
        try:
            make_again(event_log, topics, learner, checkpoints, switch, from_nothing=from_nothing)
        except CheckpointCorrupt as again:
            raise CheckpointCorrupt(
                f"{switch.position.version} went on from {switch.adopts.state}, which is gone ({error}), and "
                f"{again}; {_way_out(event_log, topics, checkpoints)}"
            ) from error
        note_adoption(supervisor, switch)


def _way_out(event_log: EventLog, topics: Topics, checkpoints: Checkpoints) -> str:
    first = first_start(event_log, topics, checkpoints)
    return f"begin later: `millstream rebuild --from {first}`" if first else "wait for the next checkpoint"


def first_start(event_log: EventLog, topics: Topics, checkpoints: Checkpoints, after: int = 0) -> str | None:
    """Return the version of the oldest checkpoint after which nothing is needed that is gone.

    That is an adopted state, even one that the journal could make again, records of an accepted gap, topics
    that were made again, or anything before the offset `after` of the journal.
    """
    gone = after
    for entry, end in read_journal(event_log, topics.journal):
        state = entry.adopts.state if entry.adopts else None
        if entry.verb is Verb.SKIP or (state and not checkpoints.has_state(state)):
            gone = max(gone, end)
    ids = event_log.topic_ids(topics.read_by_learners)
    held = (at for at in checkpoints.positions() if at.journal >= gone and same_topics(at.topic_ids, ids))
    return next((at.version for at in held), None)


def _from_last_adoption(event_log: EventLog, topics: Topics, start: int, until: Version | None) -> Entries:
    """Return the entries from an offset on, or from the last adoption after it: it replaces all before."""
    for entry, after in _up_to(until, read_journal(event_log, topics.journal, start)):
        if entry.verb is Verb.ADOPT:
            start = after - 1
    return read_journal(event_log, topics.journal, start)


def _up_to(until: Version | None, entries: Entries) -> Entries:
    for entry, after in entries:
        if until is not None and Version.parse(entry.version) > until:
            return
        yield entry, after
