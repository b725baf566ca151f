"""The rebuild: what the journal says was learned, learned again, equals what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from consumers.audit.check import AuditCheck
from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
from pipeline.checkpoints.audit import agreement
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.checkpoints.rebuild import first_start, rebuild
from pipeline.config import Settings
from pipeline.errors import CheckpointCorrupt, OffsetsExpired
from pipeline.eventlog.port import EventLog, Record, read_compacted
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import JournalEntry, read_journal
from pipeline.journal.position import Position
from pipeline.snapshots.history_records import read_history_record
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.state.histories import Histories
from pipeline.training.learner import Learner
from pipeline.wording import counted

NOT_COMPARED = (
    "not compared: what was learned last was learned with other settings than these, on another machine or "
    "by another release, and nothing followed a later checkpoint yet: audit again when more was learned, or "
    "with the settings of the learner"
)


class Rebuilt(NamedTuple):
    """A learner that was rebuilt from the beginning of the journal, and its position."""

    learner: Learner
    position: Position


def check_rebuild(
    event_log: EventLog,
    topics: Topics,
    settings: Settings,
    journal: Sequence[tuple[JournalEntry, int]],
    has_gap: bool,
    progress: Callable[[int], None] = lambda events: None,
) -> tuple[AuditCheck, Rebuilt | None]:
    """Learn the whole journal again, and compare with checkpoint and snapshot of its last version.

    Begin after the last gap in the log if the journal has one, and after what was learned with other
    settings, on another machine or by another release, which would come out otherwise now.

    Args:
        event_log, topics, settings: of the model.
        journal: all its entries, each with the offset after it.
        has_gap: whether one of them skips a gap.
        progress: called with the number of interactions of each batch.
    """
    learner, supervisor, checkpoints = (
        make_learner(settings),
        make_supervisor(settings),
        checkpoints_of(settings),
    )
    ours = fingerprint(learner, supervisor)
    other = max((end for entry, end in journal if entry.fingerprint != ours), default=0)
    first = first_start(event_log, topics, checkpoints, other) if has_gap or other else None
    if other and first is None:
        return AuditCheck.of("rebuild", NOT_COMPARED, []), None
    try:
        position = rebuild(
            event_log,
            topics,
            learner,
            supervisor,
            checkpoints,
            from_nothing=first is None,
            since=Version.parse(first) if first else None,
            progress=progress,
        )
    except (CheckpointCorrupt, OffsetsExpired) as error:
        return AuditCheck.of("rebuild", "failed", [str(error)]), None
    if other and position.version == first:
        return AuditCheck.of("rebuild", NOT_COMPARED, []), Rebuilt(learner, position)
    store = SnapshotStore.of(settings.snapshots, topics.prefix)
    found = agreement(learner, supervisor, position, checkpoints, store)
    since = f", learned again from {first}" if first else ""
    check = AuditCheck.of("rebuild", f"{found}{since}", [str(found)] if found.differs else [])
    return check, Rebuilt(learner, position)


def check_histories(
    event_log: EventLog, topics: Topics, learner: Learner, position: Position
) -> list[AuditCheck]:
    """Compare the published histories with those of a learner at the version of the last publication.

    Nothing is compared if a batch has been journalled since: histories may be newer then.
    """
    expected, records = learner.stream.histories, read_compacted(event_log, topics.histories)
    if next(read_journal(event_log, topics.journal, position.journal), None) is not None:
        return []
    findings = [
        f"the history at {record.source}/{record.offset} {fault}"
        for user, record in records.items()
        if (fault := _history_fault(user, record, expected)) is not None
    ]
    if lacking := len(expected.users() - records.keys()):
        findings.append(f"no history is published of {counted(lacking, 'user')}")
    return [AuditCheck.of("histories", counted(len(records), "history"), findings)]


def _history_fault(user: str, record: Record, expected: Histories) -> str | None:
    try:
        history, _, older = read_history_record(user, record.value or b"")
    except ValueError:
        return "cannot be read"
    same = history == expected.of(user) and np.array_equal(older, expected.older(user))
    return None if same else "differs from the rebuilt one"
