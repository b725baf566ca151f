"""Whether a log is still the one that offsets are of, or another one has taken its place.

A topic that was deleted and made again has other records under the same offsets; a log that was
restored from an old copy ends before offsets that were read.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.eventlog.port import Offsets


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
