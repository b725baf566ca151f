"""The log that the newest checkpoint and snapshot were learned from: this one, or another in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import orjson

from pipeline.config import Settings
from pipeline.doctor.finding import Finding, fault, ok
from pipeline.errors import InvalidSettings, StorageUnavailable
from pipeline.eventlog.port import EventLog, Offsets, TopicPartition
from pipeline.eventlog.replaced import replacements
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import Verb, read_journal
from pipeline.snapshots.filesystem import MANIFEST, open_model, versions_in
from pipeline.snapshots.version import Version

REMEDY = (
    "put the old log back, or `millstream learn --accept-gap`; for another model, move checkpoints and "
    "snapshots away: docs/operations.md#a-replaced-log"
)


class _Learned(NamedTuple):
    """What a manifest says of the log: next offsets, and the ids of their topics."""

    version: Version
    offsets: Offsets
    topic_ids: Mapping[str, str]


def check(opened: EventLog, topics: Topics, settings: Settings) -> Iterator[Finding]:
    """Compare what is learned with the log as learner and servers do; they refuse to go on with another."""
    stores = {"checkpoint": str(settings.checkpoints.folder), "snapshot": settings.snapshots.store}
    faults = [one for name, store in stores.items() for one in _faults(opened, topics, name, store)]
    yield from faults or [ok("origin", "what is learned was learned from this log")]


def _faults(opened: EventLog, topics: Topics, name: str, store: str) -> Iterator[Finding]:
    learned = _newest(store, topics)
    if learned is None:
        return
    names = topics.items, topics.interactions, topics.journal  # other impressions are passed over
    ends, ids = opened.end_offsets(names), opened.topic_ids(names)
    offsets = {source: at for source, at in learned.offsets.items() if source.topic in names}
    lost = replacements(offsets, {topic: learned.topic_ids.get(topic, "") for topic in names}, ends, ids)
    if lost and not _is_accepted(opened, topics, learned.version):
        text = f"{name} {learned.version} was learned from another log: {'; '.join(lost)}"
        yield fault("origin", text, REMEDY)


def _newest(store: str, topics: Topics) -> _Learned | None:
    """Read the newest manifest that can be read; None without one, or where the store does not answer."""
    try:
        files, folder = open_model(store, topics.prefix)
        newest = reversed(versions_in(files, folder))
        found = (_read(one, files.read(f"{folder}/{one}/{MANIFEST}"), topics) for one in newest)
        return next((learned for learned in found if learned), None)
    except (InvalidSettings, StorageUnavailable, OSError):
        return None  # other checks say so


def _read(version: Version, sealed: bytes, topics: Topics) -> _Learned | None:
    try:
        content = orjson.loads(sealed)["content"]
        offsets = {TopicPartition.parse(place): int(at) for place, at in content["offsets"].items()}
        journal = {TopicPartition(topics.journal, 0): int(content.get("journal", 0))}  # of a checkpoint
        return _Learned(version, {**offsets, **journal}, dict(content["topic_ids"]))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None  # damaged: learner and servers take the one before it


def _is_accepted(opened: EventLog, topics: Topics, version: Version) -> bool:
    """Whether a person has accepted the gap that follows a version."""
    return any(
        entry.verb is Verb.SKIP and (entry.generation, entry.step) > version
        for entry, _ in read_journal(opened, topics.journal)
    )
