"""The versions that a learner can return to: those that journal or checkpoints know; without torch."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pipeline.checkpoints.listing import readable_in
from pipeline.errors import TopicError, VersionUnknown
from pipeline.eventlog.port import EventLog, TopicPartition
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import read_journal
from pipeline.snapshots.version import Version


def check_known(event_log: EventLog, topics: Topics, checkpoints: Path, version: Version) -> None:
    """Refuse a version that cannot be rebuilt; read the journal from the nearest checkpoint on.

    `checkpoints` is their folder.

    Raises:
        VersionUnknown: neither journal nor checkpoints hold it; names the one before it.
        OffsetsExpired: the log does not hold the journal after the nearest checkpoint any more.
    """
    positions = (manifest.position for manifest in readable_in(checkpoints))
    begins = [at for at in positions if Version.parse(at.version) <= version]
    newest = Version.parse(begins[-1].version) if begins else None
    for entry, _ in read_journal(event_log, topics.journal, begins[-1].journal if begins else None):
        reached = Version.parse(entry.version)
        if reached > version:
            break
        newest = reached
    if newest != version:
        raise VersionUnknown(
            f"version {version} was never learned, or is not known any more: before it, {topics.journal} and "
            f"the checkpoints in {checkpoints} hold {newest or 'none'}; see `millstream history`"
        )


def version_at(event_log: EventLog, topics: Topics, moment: str) -> Version:
    """Return the version that a moment names.

    Args:
        event_log, topics: where the journal is.
        moment: a version (``3-120``); or the last version before a time in ISO 8601, UTC if it
            has no zone, or before an offset of the journal (``@1234``).

    Raises:
        ValueError: the moment is none of these.
        TopicError: nothing was learned by then, or the journal no longer holds it.
    """
    if moment.replace("-", "", 1).isdigit() and "-" in moment:
        return Version.parse(moment)
    end = int(moment[1:]) if moment.startswith("@") else _journal_end(event_log, topics, moment)
    entries = read_journal(event_log, topics.journal)
    reached = [entry.version for entry, after in entries if after <= end]
    if not reached:
        raise TopicError(f"{topics.journal} holds nothing that was learned by {moment}")
    return Version.parse(reached[-1])


def time_of(text: str) -> datetime:
    """Parse a time in ISO 8601; without a zone it is UTC.

    Raises:
        ValueError: it is not one.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _journal_end(event_log: EventLog, topics: Topics, moment: str) -> int:
    """Offset of the first journal entry at or after a time."""
    ends = event_log.offsets_at([topics.journal], int(time_of(moment).timestamp() * 1000))
    return ends[TopicPartition(topics.journal, 0)]
