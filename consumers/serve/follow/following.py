"""What keeps the state of a server current, made of the settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event

from consumers.serve.follow.follower import Follower
from consumers.serve.follow.one_snapshot import OneSnapshot
from consumers.serve.follow.snapshot_watcher import SnapshotWatcher
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import SnapshotLoader
from pipeline.config import Settings
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.model.backbone import load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.snapshots.version import Version


def following(
    settings: Settings, event_log: EventLog, topics: Topics, current: CurrentState, at: Version | None = None
) -> Callable[[Event], None]:
    """Return what follows log and snapshots, or one snapshot `at` a version, until an event is set.

    Raises:
        InvalidSettings: the snapshot store cannot be opened.
    """
    device = use_device("cpu", settings.model.threads)
    backbone = load_backbone(settings.model.backbone, settings.model.cache)
    loader = SnapshotLoader.of(settings, backbone)
    newest = SnapshotWatcher(loader, topics.prefix, current)
    follower = Follower(
        event_log,
        topics,
        newest if at is None else OneSnapshot(loader, at),
        current,
        settings.learn.stream.history_length,
        settings.serve.poll_seconds,
        settings.signals,
        settings.learn.retrieval,
        settings.serve.owner_attribute,
    )
    make_encoder = partial(TextEncoder, backbone, settings.model.cache, settings.model.max_tokens, device)
    return partial(follower.run, make_encoder)
