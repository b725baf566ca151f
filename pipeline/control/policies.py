"""The changes of the policy, as they stand in the log."""

from __future__ import annotations

import logging

from pipeline.errors import InvalidEvent
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics
from pipeline.policy.changes import PolicyChange, PolicyChanges

log = logging.getLogger(__name__)


def read_policy_changes(event_log: EventLog, topics: Topics) -> PolicyChanges:
    """Read all changes; say which records are none, which servers refuse, too."""
    changes = PolicyChanges()
    for record in read(event_log, topics.policies):
        try:
            changes.add(PolicyChange.decode(record.value or b""))
        except InvalidEvent as error:
            log.error("%s/%s: %s; servers skip it, too", record.source, record.offset, error)
    return changes
