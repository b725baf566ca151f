"""What the log knows of one user: the published history, and the acts that came since."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import interaction_of, user_of
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import EventLog, Record, TopicPartition, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Attributes
from pipeline.sealing import open_record
from pipeline.state.histories import Act, History, history_of


@dataclass(frozen=True)
class RecentHistory:
    """The acts of a user, oldest first, and what else is known.

    Attributes:
        attributes: of the user, as they were sent last.
        published: as the learner published them last.
        since: those that were appended since then, each event once.
    """

    attributes: Attributes
    published: History
    since: History


def read_user(event_log: EventLog, topics: Topics, user: str) -> RecentHistory:
    """Read the history of a user; that of one whom nobody knows is empty.

    Raises:
        ValueError: the published history is damaged.
        LogUnavailable: the log does not answer.
    """
    published: History = ()
    offset = None
    for record in _of(event_log, topics.histories, user, None):
        published, offset = (), None
        if record.value is not None:
            published, offset, _ = history_of(open_record(record.value, user))
    since: dict[str, Act] = {}
    for record in _of(event_log, topics.interactions, user, offset):
        try:
            event = interaction_of(record)
        except InvalidEvent:
            continue
        since.setdefault(event.event_id, Act.of(event))
    return RecentHistory(_attributes(event_log, topics, user), published, tuple(since.values()))


def can_be_removed(event_log: EventLog, topics: Topics, user: str) -> bool:
    """Return whether a user has attributes or a published history.

    Raises:
        LogUnavailable: the log does not answer.
    """
    found = (list(_of(event_log, topic, user, None)) for topic in (topics.users, topics.histories))
    return any(records and records[-1].value is not None for records in found)


def _attributes(event_log: EventLog, topics: Topics, user: str) -> Attributes:
    attributes: Attributes = {}
    for record in _of(event_log, topics.users, user, None):
        try:
            found = user_of(record)
        except InvalidEvent:
            continue
        attributes = {} if isinstance(found, str) else found.attributes
    return attributes


def _of(event_log: EventLog, topic: str, user: str, offset: int | None) -> list[Record]:
    """The records of a user, from an offset in the user's partition on."""
    begin = event_log.begin_offsets([topic])
    home = TopicPartition(topic, partition_of(user, len(begin)))
    start = begin[home] if offset is None else max(offset, begin[home])
    return [record for record in read(event_log, topic, {home: start}) if record.key == user]
