"""Whether a log is still the one that offsets are of, or another one has taken its place.

A topic that was deleted and made again has other records under the same offsets; a log that was
restored from an old copy ends before offsets that were read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from pipeline.eventlog.port import EventLog, Offsets

POLL_SECONDS = 0.2


def renewed(before: Mapping[str, str], now: Mapping[str, str]) -> set[str]:
    """Return the topics that were deleted and made again, by their ids; an unknown id is no other one."""
    return {topic for topic, topic_id in before.items() if topic_id and now.get(topic) not in (topic_id, "")}


def same_topics(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether ids, by topic, are of the same topics; an id that is not known is no other one."""
    return not renewed(one, other)


def replacements(
    offsets: Offsets, topic_ids: Mapping[str, str], ends: Offsets, ids_now: Mapping[str, str]
) -> list[str]:
    """Say in which topics a log is not the one that offsets are of; nothing if it is.

    Args:
        offsets: next offsets, read from topics with `topic_ids`.
        ends: end offsets of the log now, of topics with `ids_now`.
    """
    others = renewed(topic_ids, ids_now)
    faults = [f"{topic} was deleted and made again" for topic in sorted(others)]
    return faults + [
        f"{source} ends at {ends.get(source, 0)}, before {offset}"
        for source, offset in sorted(offsets.items())
        if source.topic not in others and ends.get(source, 0) < offset
    ]


def wait_for_the_end(event_log: EventLog, expected: Offsets, seconds: float) -> None:
    """Wait until a log reaches some offsets, but not for ever.

    A broker that has just come back may answer with an earlier end at first.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ends = event_log.end_offsets({source.topic for source in expected})
        if all(ends.get(source, 0) >= offset for source, offset in expected.items()):
            return
        time.sleep(POLL_SECONDS)
