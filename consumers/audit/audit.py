"""The audit of a model: log, journal, checkpoints, snapshots and servers agree with each other.

It reads only, and may run beside the daemons: what was announced is read before what is stored, that
before the journal, and the journal before the log: each must be in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consumers.audit.check import AuditCheck
from consumers.audit.events import EventTally, check_dead_letters, check_events, tally
from consumers.audit.journal import begins_of_impressions, check_journal, versions_of
from consumers.audit.rebuilt import Rebuilt, check_histories, check_rebuild
from consumers.audit.servers import check_servers
from consumers.audit.stored import Stored, Versions, check_checkpoints, check_snapshots, read_announcements
from pipeline.assembly import checkpoints_of
from pipeline.config import Settings
from pipeline.errors import TopicError
from pipeline.eventlog.port import EventLog, Offsets
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import JournalEntry, Verb, read_journal
from pipeline.snapshots.snapshot import Manifest
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version


def audit(
    event_log: EventLog,
    topics: Topics,
    settings: Settings,
    *,
    servers: Sequence[str] = (),
    users: int = 20,
    rebuilds: bool = True,
    progress: Callable[[int], None] = lambda events: None,
) -> list[AuditCheck]:
    """Check everything that can be checked against each other.

    Args:
        event_log, topics, settings: of the model.
        servers: URLs of servers whose answers are compared with those of a new one.
        users: how many users the servers are asked about.
        rebuilds: whether to learn the whole journal again, which takes as long as learning it did.
        progress: called with the number of interactions of each batch that is learned again.

    Raises:
        TopicError: nothing was ever learned.
        JournalCorrupt: an entry cannot be read.
        LogUnavailable: the log does not answer.
    """
    announced = read_announcements(event_log, topics)
    stored = Stored.now(checkpoints_of(settings), SnapshotStore.of(settings.snapshots, topics.prefix))
    journal = list(read_journal(event_log, topics.journal))
    entries = [entry for entry, _ in journal]
    if not entries:
        raise TopicError(f"{topics.journal} is empty: start `millstream learn` first")
    versions = versions_of(entries)
    has_gap = any(entry.verb is Verb.SKIP for entry in entries)
    snapshots, published = check_snapshots(
        event_log, topics, stored, announced, settings.snapshots.keep, versions
    )
    checks = [
        check_journal(entries, event_log.end_offsets(topics.read_by_learners)),
        check_checkpoints(stored, versions),
        snapshots,
    ]
    rebuilt: Rebuilt | None = None
    if rebuilds:
        check, rebuilt = check_rebuild(event_log, topics, settings, journal, has_gap, progress)
        checks.append(check)
    if has_gap:
        checks.append(AuditCheck.of("events", "not counted: a gap in the log was accepted", []))
    else:
        checks += _events(event_log, topics, settings, entries, published, rebuilt)
    if rebuilt and published and published[-1].version == rebuilt.position.version:
        checks += check_histories(event_log, topics, *rebuilt)
    return checks + (check_servers(event_log, topics, settings, servers, users) if servers else [])


def _events(
    event_log: EventLog,
    topics: Topics,
    settings: Settings,
    entries: Sequence[JournalEntry],
    published: Sequence[Manifest],
    rebuilt: Rebuilt | None,
) -> list[AuditCheck]:
    """Check events and dead letters, unless some of what was learned has expired."""
    first, begins = entries[0], event_log.begin_offsets([topics.interactions])
    if first.verb is not Verb.START or any(first.offsets[source] < at for source, at in begins.items()):
        return [AuditCheck.of("events", "not counted: some have expired", [])]
    found: EventTally = tally(event_log, topics, settings.learn.stream.dedupe_window)
    states = [(f"snapshot {one.version}", one.learned_offsets, one.events) for one in published]
    if rebuilt:
        position = rebuilt.position
        states.append((f"the rebuilt {position.version}", position.offsets, rebuilt.learner.stream.events))
    ends = _ends_of(published[-1], versions_of(entries)) if published else {}
    letters = check_dead_letters(
        event_log, topics, found, begins_of_impressions(entries, topics.impressions), ends
    )
    return [check_events(found, states), letters]


def _ends_of(manifest: Manifest, versions: Versions) -> Offsets:
    """Return the ends of all that was read for a snapshot, which itself has none of impressions."""
    return versions.get(Version.parse(manifest.version), manifest.learned_offsets)
