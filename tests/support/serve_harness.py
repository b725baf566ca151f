"""A small shop with an event log, a learner that publishes, and servers that follow both."""

from __future__ import annotations

import gc
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Self
from unittest.mock import patch

import orjson
import pytest
import torch

from consumers.serve.follow.follower import Follower
from consumers.serve.follow.snapshot_watcher import SnapshotWatcher
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import SnapshotLoader
from consumers.serve.state.serving_state import View
from pipeline.checkpoints.capture import take_changed, update_of
from pipeline.config import (
    CompressionConfig,
    LogConfig,
    ModelConfig,
    ModelSizes,
    ReplayConfig,
    RetrievalConfig,
    ServeConfig,
    Settings,
    SignalsConfig,
    SnapshotConfig,
)
from pipeline.evaluation.prequential import Scores
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of, item_of
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import EventLog, LogReader, Record, TopicPartition, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, Item, ItemChange, encode
from pipeline.journal.position import Position
from pipeline.model.backbone import Backbone
from pipeline.model.content.text import TextEncoder
from pipeline.sealing import seal, sealed_digest, unseal
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.filesystem import FORMAT, MANIFEST
from pipeline.snapshots.history_records import history_record
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.snapshot import Manifest, Snapshot, Update
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.state.acted_items import OlderItems
from pipeline.state.histories import History
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from tests.support.build import learner_config, vectors_of
from tests.support.serve_tools import Writer, wait_until

PREFIX = "shop"
CPU = torch.device("cpu")
COLOURS, THINGS = ("red", "blue", "green"), ("cup", "plate", "lamp", "candle")
START = 1_700_000_000_000
NO_VECTORS: Mapping[str, int] = {}


@contextmanager
def serving(
    log: EventLog,
    topics: Topics,
    loader: SnapshotLoader,
    settings: Settings,
    encoder: Callable[[], TextEncoder],
) -> Iterator[CurrentState]:
    """Run a follower in a thread, once caught up or degraded; raise the follower's error at the end."""
    current, stop = CurrentState(), Event()
    follower = Follower(
        log,
        topics,
        SnapshotWatcher(loader, topics.prefix, current),
        current,
        settings.learn.stream.history_length,
        settings.serve.poll_seconds,
        retrieval=settings.learn.retrieval,
        owner_attribute=settings.serve.owner_attribute,
    )
    # A full collection goes through all that the tests have imported: half of the time of a server's start.
    with patch.object(gc, "collect"), ThreadPoolExecutor(1) as threads:
        following = threads.submit(follower.run, encoder, stop)
        try:
            wait_until(lambda: bool(current.view or current.degradation) or following.done())
            yield current
        finally:
            stop.set()
        following.result()


class World:
    """Appends events to a real log; `learn` and `publish` do what the learn daemon does."""

    def __init__(
        self,
        folder: Path,
        backbone: Backbone,
        context: int = 5,
        history_length: int = 20,
        signals: SignalsConfig = SignalsConfig(),  # noqa: B008 (frozen)
        retrieval: RetrievalConfig = RetrievalConfig(),  # noqa: B008 (frozen)
        compression: CompressionConfig = CompressionConfig(),  # noqa: B008 (frozen)
        vectors: Mapping[str, int] = NO_VECTORS,
    ) -> None:
        """Make a shop; its items bring the vectors of the names and widths given."""
        self.folder = folder
        self.backbone = backbone
        self.settings = Settings(
            signals=signals,
            log=LogConfig(url=f"sqlite:///{folder}/log.db", prefix=PREFIX, partitions=4),
            model=ModelConfig(backbone="given", device="cpu", cache=folder / "cache"),
            learn=learner_config(
                context=context,
                replay_length=ReplayConfig().length,
                history_length=history_length,
                sizes=ModelSizes(lora_rank=2, lora_alpha=4, adapter_rank=4, vectors=dict(vectors)),
                retrieval=retrieval,
            ),
            serve=ServeConfig(poll_seconds=0.01, most_recommendations=20, recommendations=5),
            snapshots=SnapshotConfig(store=str(folder / "snapshots")),
        )
        self.topics = Topics(PREFIX)
        self.log = open_log(self.settings.log.url)
        self.topics.create(self.log, *self.settings.log.topic_sizes)
        self.store = SnapshotStore(self.settings.snapshots.store, PREFIX)
        self._stack = ExitStack()
        self._writer = self._stack.enter_context(Writer(self.log.writer(), self.topics.snapshots))
        self._publisher = Publisher(self.store, self._writer, self.topics, keep=3, compression=compression)
        begins = self.log.begin_offsets([self.topics.items, self.topics.interactions])
        self._reader = self._stack.enter_context(self.log.reader(begins))
        self.learner = Learner(self.settings.learn, backbone, self.encoder(), CPU, signals)
        self.generation, self._step = 1, 0
        self._learned_through = 0
        self._users: dict[str, int] = {}
        self._events = 0
        self._numbers: dict[str, int] = {}
        self._flushes = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        self.log.close()

    def stock(self) -> None:
        """Put twelve items into the catalogue."""
        with self._one_flush():
            for colour in COLOURS:
                for thing in THINGS:
                    self.upsert(f"{colour}-{thing}", f"{colour} {thing}", category=colour)

    def open(self) -> None:
        """Stock, sell, learn and publish."""
        self.stock()
        self.shop()
        self.learn()
        self.publish()

    def upsert(self, item: str, title: str, category: str | None = None, available: bool = True) -> None:
        vectors = vectors_of(item, self.settings.learn.sizes.vectors)
        entry = Item(item=item, title=title, category=category, available=available, vectors=vectors)
        self._writer.append(self.topics.items, item, encode(entry))
        self._flush()

    def change(self, item: str, **fields: object) -> None:
        """Append a partial upsert."""
        change = ItemChange.model_validate({"item": item, **fields})
        self._writer.append(self.topics.items, item, encode(change))
        self._flush()

    def remove(self, item: str) -> None:
        self._writer.append(self.topics.items, item, None)
        self._writer.flush()

    def act(
        self,
        user: str,
        *items: str,
        session: str | None = "s1",
        event_id: str | None = None,
        kind: InteractionType = InteractionType.PURCHASE,
        late_ms: int = 0,
        value: float | None = None,
    ) -> None:
        """Append one act an item, that happened so long before; an id sent before keeps its time."""
        for item in items:
            self._events += 1
            event = Interaction(
                event_id=event_id or f"e{self._events}",
                user=user,
                item=item,
                type=kind,
                time=START
                + 60_000 * self._numbers.setdefault(event_id or f"e{self._events}", self._events)
                - late_ms,
                value=value,
                session=session,
            )
            self._writer.append(self.topics.interactions, user, encode(event))
        self._flush()

    @contextmanager
    def replaced(self) -> Iterator[World]:
        """The same shop with an empty log in place of the old one, which is put back at the end.

        Its learner goes on from this one's, as after an accepted gap: at the first publication, with all
        histories again, in a new generation.
        """
        # The log's file leaves first and comes back last: a server that opens it in between has no
        # write-ahead log beside it, and begins an empty one.
        files = self._log_files()
        for name in files:
            (self.folder / name).rename(self.folder / f"old-{name}")
        try:
            with World(self.folder, self.backbone) as again:
                again.learner, again._step = self.learner, self._step + 1
                again.generation, again._events = self.generation + 1, self._events
                again._users = dict.fromkeys(self.learner.stream.histories.users(), 0)
                yield again
        finally:
            for name in self._log_files():
                (self.folder / name).unlink()
            for name in reversed(files):
                (self.folder / f"old-{name}").rename(self.folder / name)

    def _log_files(self) -> list[str]:
        return sorted(file.name for file in self.folder.glob("log.db*"))

    def delete(self, topic: str) -> None:
        """Delete a topic, as no command of ours does."""
        with closing(sqlite3.connect(self.folder / "log.db")) as file, file:
            file.execute("DELETE FROM topics WHERE name = ?", (topic,))
            file.execute("DELETE FROM partitions WHERE topic = ?", (topic,))

    def make_again(self, topic: str) -> None:
        """Delete a topic and make it again."""
        self.delete(topic)
        self.topics.create(self.log, *self.settings.log.topic_sizes)

    def remember(self, user: str, history: History) -> None:
        """Give a user a past, as if it had been learned; the next publication holds it."""
        self.learner.stream.histories.put(user, history)
        self._users[user] = 0

    def shop(self, rounds: int = 4) -> None:
        """Let three users buy things of their colour, in turn."""
        with self._one_flush():
            for number in range(rounds):
                for user, colour in zip(("ann", "bob", "cyd"), COLOURS, strict=True):
                    thing, other = THINGS[number % 4], THINGS[(number + 1) % 4]
                    self.act(user, f"{colour}-{thing}", f"{colour}-{other}", session=f"s{number}")

    @contextmanager
    def _one_flush(self) -> Iterator[None]:
        """Flush once, at the end."""
        self._flushes = False
        yield
        self._flushes = True
        self._flush()

    def _flush(self) -> None:
        if self._flushes:
            self._writer.flush()

    def learn(self) -> Scores:
        """Learn all new records in one batch."""
        records = self._reader.poll(10_000, timeout_seconds=0)
        items = [item_of(record) for record in records if record.topic == self.topics.items]
        acts = [record for record in records if record.topic == self.topics.interactions]
        events = [interaction_of(record) for record in acts]
        self._step += 1
        self._users |= {event.user: self._end_of(event.user) for event in events}
        self._learned_through = max((record.append_time for record in records), default=self._learned_through)
        return self.learner.score_and_learn(MicroBatch(self.generation, self._step, items, events))

    def publish(self) -> Manifest:
        """Publish histories and a snapshot, and announce it."""
        return self._publisher.publish(
            Publication(self.update(), self._histories(), [], [], older=self._older())
        )

    def publish_histories(self) -> None:
        """Publish the histories without a snapshot."""
        for user, (history, end) in self._histories().items():
            self._writer.append(
                self.topics.histories, user, history_record(user, history, end, self._older()[user])
            )
        self._writer.flush()

    def announce(self, wire: bytes) -> None:
        """Append a record to the snapshots topic."""
        self._writer.append(self.topics.snapshots, PREFIX, wire)
        self._writer.flush()

    def announce_damaged(self, damage: str) -> None:
        """Publish a snapshot and damage it before its announcement, or announce invalid JSON."""
        if damage == "announcement":
            self.announce(b"not JSON")
            return
        self.shop(rounds=1)
        self.learn()
        self._writer.before_announcement = partial(self._damage, damage)
        self.publish()
        self._writer.before_announcement = None

    def forge(self, version: Version, /, **change: object) -> None:
        """Give a snapshot a manifest with other values, sealed again, and announce it."""
        path = self.folder / "snapshots" / PREFIX / str(version) / MANIFEST
        fields = {**orjson.loads(unseal(path.read_bytes(), FORMAT)), **change}
        content = seal(json.dumps(fields).encode(), FORMAT)
        path.write_bytes(content)
        announced = Announcement(
            version=str(version),
            digest=sealed_digest(content, FORMAT),
            size=len(content),
            reason="forged",
            published_at=START,
        )
        self.announce(announced.encode())

    def _damage(self, damage: str) -> None:
        folder = self.folder / "snapshots" / PREFIX / f"{self.generation}-{self._step}"
        file = folder / "learned.safetensors"
        if damage == "manifest":
            (folder / "manifest.json").write_text("{}")
        elif damage == "missing":
            file.unlink()
        else:
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)

    def snapshot(self) -> Snapshot:
        """The learner's public state."""
        return Snapshot.of(self.update(is_whole=True))

    def update(self, is_whole: bool = False) -> Update:
        """What changed since the last publication; all, if it must begin anew or should."""
        offsets, through = self._reader.positions(), self._learned_through
        ids = self.log.topic_ids([self.topics.items, self.topics.interactions])
        position = Position(self.generation, self._step, "test", 0, offsets, through, 0, {}, ids)
        is_whole = is_whole or self._publisher.begins_anew(self.generation)
        changed = None if is_whole else take_changed(self.learner)
        return update_of(self.learner, PREFIX, position, {}, "test", changed)

    def promote(self, update: Update, version: Version) -> None:
        """Publish an earlier state as a later version."""
        manifest = update.manifest.model_copy(update={"version": str(version)})
        self._publisher.publish(Publication(replace(update, manifest=manifest), {}, [], []))

    def reader_fails_once(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[Exception]:
        """Make the next poll of any reader fail; the returned list is empty once it has."""
        kind, errors = type(self._reader), [error]
        poll = kind.poll

        def failing(reader: LogReader, most: int, timeout_seconds: float) -> list[Record]:
            if errors:
                raise errors.pop()
            return poll(reader, most, timeout_seconds)

        monkeypatch.setattr(kind, "poll", failing)
        return errors

    def announced(self) -> Announcement:
        """The newest announcement."""
        version = self.store.versions()[-1]
        return Announcement.of(self.store.manifest(version), self.store.seal(version))

    def records(self, topic: str) -> list[Record]:
        return list(read(self.log, topic))

    def loader(self) -> SnapshotLoader:
        store = SnapshotStore(self.settings.snapshots.store, PREFIX)
        return SnapshotLoader(store, self.backbone, self.settings.model)

    @contextmanager
    def server(self) -> Iterator[CurrentState]:
        """Run a follower in a thread, once caught up or degraded; raise the follower's error at the end."""
        with serving(self.log, self.topics, self.loader(), self.settings, self.encoder) as current:
            yield current

    def shown(self, current: CurrentState) -> View:
        """Wait until the server has read everything and loaded the newest snapshot; return its view."""
        ends = self.log.end_offsets(self.topics.served)
        read = {str(source): offset for source, offset in ends.items()}

        def settled() -> bool:
            view = current.view
            return view is not None and view.offsets == read and not view.pending_texts and self._newest(view)

        wait_until(settled)
        assert current.view is not None
        return current.view

    def _histories(self) -> dict[str, tuple[History, int]]:
        """Histories of the users who acted since the last call, and the offsets where they end."""
        users, self._users = self._users, {}
        return {user: (self.learner.stream.histories.of(user), end) for user, end in users.items()}

    def _end_of(self, user: str) -> int:
        """Where the learner has read to in the partition of a user's key."""
        home = partition_of(user, self.settings.log.partitions)
        return self._reader.positions()[TopicPartition(self.topics.interactions, home)]

    def _older(self) -> dict[str, OlderItems]:
        histories = self.learner.stream.histories
        return {user: histories.older(user) for user in histories.users()}

    def _newest(self, view: View) -> bool:
        versions = self.store.versions()
        return not versions or (view.snapshot is not None and view.snapshot.version == versions[-1])

    def encoder(self) -> TextEncoder:
        model = self.settings.model
        return TextEncoder(self.backbone, model.cache, model.max_tokens, CPU)
