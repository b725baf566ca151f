"""The changes of the policy, as they stand in the log."""

from __future__ import annotations

from contextlib import suppress

from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics
from pipeline.policy.changes import PolicyChange, PolicyChanges


def read_policy_changes(event_log: EventLog, topics: Topics) -> PolicyChanges:
    """Read all changes; what is none was refused by servers, too."""
    changes = PolicyChanges()
    for record in read(event_log, topics.policies):
        with suppress(ValueError):
            changes.add(PolicyChange.decode(record.value or b""))
    return changes
