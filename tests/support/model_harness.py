"""A small model in one folder: log, settings, and learners that tests can stop anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from consumers.learn.commits import Cadences, Commits
from consumers.learn.orders import CommandReader
from consumers.learn.schedule import Cadence
from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.checkpoints.rebuild import rebuild
from pipeline.checkpoints.state import LearnerState
from pipeline.checkpoints.store import Checkpoints
from pipeline.config import (
    BatchConfig,
    CheckpointConfig,
    DriftConfig,
    GuardConfig,
    LogConfig,
    MetricsConfig,
    ModelConfig,
    ModelSizes,
    ReplayConfig,
    RewardsConfig,
    Settings,
    SnapshotConfig,
)
from pipeline.control.records import ControlRecord, Promotion, Rollback
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, Record, TopicPartition, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, Item, encode
from pipeline.journal.batch_source import BatchSource
from pipeline.journal.entry import Verb, read_journal
from pipeline.journal.position import Position, first_position
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.publisher import Publisher
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.training.learner import Learner
from tests.support.build import learner_config, vectors_of
from tests.support.impressions import impression as impression_of
from tests.support.learner_harness import LearnerHarness, Rebuilt

PREFIX = "mill"
PARTITIONS = 4
COLOURS, THINGS = ("red", "blue", "green"), ("cup", "plate", "lamp", "candle")
USERS = ("ann", "bob", "cyd", "dan", "eve")
START = 1_700_000_000_000
MINUTE = 60_000
WEEK = 7 * 24 * 60 * MINUTE
BATCH = 16
"""Records in a batch."""
OPEN = 6
"""Impressions that wait for acts, so that a few more than that close some of them."""

NO_VECTORS: Mapping[str, int] = {}
Published = TypeVar("Published", bound=ControlRecord)


def tiny_settings(folder: Path, backbone: Path, vectors: Mapping[str, int] = NO_VECTORS) -> Settings:
    """Settings of a model that learns a batch in milliseconds, with all its files in the folder."""
    return Settings(
        log=LogConfig(url=f"sqlite:///{folder}/log.db", prefix=PREFIX, partitions=PARTITIONS),
        model=ModelConfig(backbone=str(backbone), device="cpu", cache=folder / "cache"),
        learn=learner_config(
            context=5,
            replay_length=ReplayConfig().length,
            history_length=12,
            sizes=ModelSizes(lora_rank=2, lora_alpha=4, adapter_rank=4, vectors=dict(vectors)),
        ),
        batch=BatchConfig(events=BATCH, wait_seconds=0.01, linger_seconds=0),
        drift=DriftConfig(warm_up_events=20),
        guard=GuardConfig(warm_up_events=0),
        checkpoints=CheckpointConfig(folder=folder / "checkpoints"),
        snapshots=SnapshotConfig(store=str(folder / "snapshots")),
        rewards=RewardsConfig(open_impressions=OPEN),
        metrics=MetricsConfig(learn=0, retrain=0),
    )


@contextmanager
def copy_of(original: Path, folder: Path, backbone: Path) -> Iterator[ModelHarness]:
    """Another model with a copy of a folder's log, checkpoints and snapshots."""
    shutil.copytree(original, folder, dirs_exist_ok=True)
    with ModelHarness(tiny_settings(folder, backbone)) as harness:
        yield harness


class ModelHarness:
    """Appends events to a real log; `learning` is a learn daemon, batch by batch."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = Topics(settings.log.prefix)
        self._stack = ExitStack()
        self.log = self._stack.enter_context(open_log(settings.log.url))
        # Tests read every announcement, so none is compacted, however long a test takes.
        specs = {spec.name: spec for spec in self.topics.specs(*settings.log.topic_sizes)}
        announced = replace(specs[self.topics.snapshots], compaction_lag_ms=WEEK)
        self.log.create_topics(list((specs | {announced.name: announced}).values()))
        self.writer = self._stack.enter_context(self.log.writer())
        self._acts = 0
        self._numbers: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def checkpoints(self) -> Checkpoints:
        return checkpoints_of(self.settings)

    @property
    def store(self) -> SnapshotStore:
        """A newly opened store, without the cache of earlier loads."""
        return SnapshotStore.of(self.settings.snapshots, self.settings.log.prefix)

    def publisher(self, store: SnapshotStore | None = None, keep: int = 20) -> Publisher:
        compression = self.settings.snapshots.compression
        return Publisher(store or self.store, self.writer, self.topics, keep, compression=compression)

    def learner(self) -> Learner:
        """One that has seen nothing."""
        return make_learner(self.settings)

    def supervisor(self) -> Supervisor:
        """One that has seen nothing."""
        return make_supervisor(self.settings)

    def stock(self, *colours: str) -> None:
        """Put four things of each colour into the catalogue."""
        for colour in colours or COLOURS:
            for thing in THINGS:
                self.upsert(f"{colour}-{thing}", f"{colour} {thing}")

    def upsert(self, item: str, title: str) -> None:
        vectors = vectors_of(item, self.settings.learn.sizes.vectors)
        self.writer.append(self.topics.items, item, encode(Item(item=item, title=title, vectors=vectors)))
        self.writer.flush()

    def act(
        self,
        user: str,
        *items: str,
        event_id: str | None = None,
        time: int | None = None,
        session: str | None = None,
        impression: str | None = None,
        rating: float | None = None,
    ) -> None:
        """Append one purchase per item, or rating; ids, times and sessions are counted up unless given.

        An event id that was sent before has the time and session that it had then.
        """
        for item in items:
            self._acts += 1
            name = event_id or f"e{self._acts}"
            number = self._numbers.setdefault(name, self._acts)
            event = Interaction(
                event_id=name,
                user=user,
                item=item,
                type=InteractionType.PURCHASE if rating is None else InteractionType.RATING,
                value=rating,
                time=time or START + MINUTE * number,
                session=session or f"s{number // 6}",
                impression=impression,
            )
            self.writer.append(self.topics.interactions, user, encode(event))
        self.writer.flush()

    def shop(self, acts: int) -> None:
        """Append so many purchases, users in turn."""
        for number in range(acts):
            user, round_number = USERS[number % len(USERS)], number // len(USERS)
            colour, thing = COLOURS[(number + round_number) % 3], THINGS[(number + round_number // 2) % 4]
            self.act(user, f"{colour}-{thing}")

    def show(self, user: str, *items: str, name: str) -> None:
        """Append the impression of an answer."""
        shown = impression_of(name, user, items)
        self.writer.append(self.topics.impressions, user, encode(shown))
        self.writer.flush()

    def learned(self, position: Position) -> dict[TopicPartition, int]:
        """The offsets of a position in the topics that are learned: not those of impressions."""
        offsets = position.offsets.items()
        return {source: at for source, at in offsets if source.topic != self.topics.impressions}

    def records(self, topic: str) -> list[Record]:
        """Read all records of a topic."""
        return list(read(self.log, topic))

    def announced(self) -> list[str]:
        """Return the versions that were announced, in their order."""
        records = self.records(self.topics.snapshots)
        return [Announcement.decode(record.value or b"").version for record in records]

    def verbs(self) -> list[tuple[str, Verb]]:
        """Return version and verb of each entry of the journal."""
        return [(entry.version, entry.verb) for entry, _ in read_journal(self.log, self.topics.journal)]

    def order(self, order: ControlRecord) -> None:
        """Append to the control topic."""
        self.control(order.encode(), order.key)

    def roll_back(self, version: str, *, relearn: bool = False, generation: int | None = None) -> str:
        """Order a rollback; return its key."""
        order = Rollback(version=version, relearn=relearn, generation=generation, ordered_at=0, reason="test")
        self.order(order)
        return order.key

    def promote(self, candidate: str, *, generation: int | None = None) -> str:
        """Order a promotion; return its key."""
        order = Promotion(candidate=candidate, generation=generation, ordered_at=0, reason="test")
        self.order(order)
        return order.key

    def candidate(self, name: str, captured: LearnerState) -> Path:
        """Store a state as a candidate's checkpoint; return its folder."""
        folder = self.checkpoints.folder / self.checkpoints.candidate_state(name)
        self.checkpoints.write_to(folder, captured)
        return folder

    def control(self, wire: bytes, key: str = "key") -> None:
        """Append any bytes to the control topic."""
        self.writer.append(self.topics.control, key, wire)
        self.writer.flush()

    def published(self, kind: type[Published]) -> list[Published]:
        """Read the records of one kind from the control topic."""
        self.writer.flush()
        wires = [record.value or b"" for record in self.records(self.topics.control)]
        return [kind.decode(wire) for wire in wires if f'"kind":"{kind.kind}"'.encode() in wire]

    def rebuilt(
        self,
        until: str | None = None,
        *,
        from_nothing: bool = True,
        since: str | None = None,
        log: EventLog | None = None,
        progress: Callable[[int], None] = lambda events: None,
    ) -> Rebuilt:
        """Rebuild the learner from the journal; of another log if given."""
        learner, supervisor = self.learner(), self.supervisor()
        position = rebuild(
            log or self.log,
            self.topics,
            learner,
            supervisor,
            self.checkpoints,
            from_nothing=from_nothing,
            since=Version.parse(since) if since else None,
            until=Version.parse(until) if until else None,
            progress=progress,
        )
        digest = self.checkpoints.digest(capture(learner, supervisor, position))
        return Rebuilt(learner, supervisor, position, digest)

    @contextmanager
    def learning(self, settings: Settings | None = None) -> Iterator[LearnerHarness]:
        """A started learner, at the newest checkpoint or at the begin of the log."""
        settings = settings or self.settings
        learner, supervisor = make_learner(settings), make_supervisor(settings)
        with self.log.fenced_writer(self.topics.journal, owner="test") as journal:
            start = self.checkpoints.restore(learner, supervisor) or first_position(
                self.log, self.topics, journal, fingerprint(learner, supervisor)
            )
            orders = CommandReader(self.log, self.topics, self.writer, self.checkpoints, learner.another)
            with (
                closing(BatchSource(self.log, self.topics, start, learner.first_seen)) as batches,
                closing(orders),
            ):
                yield LearnerHarness(self, learner, supervisor, start, batches, journal, orders)

    def commits(self, learning: LearnerHarness, start: Position | None = None) -> Commits:
        """The commits of a learner, none of which is ever due."""
        never = 1_000_000
        return Commits(
            learning.learner,
            learning.supervisor,
            self.settings.log.prefix,
            self.log,
            self.publisher(),
            self.checkpoints,
            Cadences(Cadence(never, never), Cadence(never, never)),
            start=start,
        )

    @contextmanager
    def busy(self, batches: int = 3, acts: int = 60) -> Iterator[LearnerHarness]:
        """A learner that has learned some batches and has more to learn."""
        self.stock()
        self.shop(acts)
        with self.learning() as learning:
            learning.new(batches)
            yield learning
