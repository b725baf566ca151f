"""A small model in one folder: log, settings, and lives of its learner that tests can end anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

from pipeline.config import DriftSettings, LearnSettings, LogSettings, ModelSettings, Settings
from pipeline.eventlog import open_log
from pipeline.eventlog.port import FencedWriter, Record, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, Item, encode
from pipeline.learning.assembly import checkpoints_of, make_learner
from pipeline.learning.batches import Batch, Batches, Position, Pull, fingerprint, first_position
from pipeline.learning.checkpoints import Checkpoints
from pipeline.learning.frozen import Frozen, freeze
from pipeline.learning.journal import read_journal
from pipeline.learning.learner import Learner
from pipeline.learning.publishing import Publication, Publisher, snapshot_of
from pipeline.snapshots.snapshot import Manifest, Snapshot
from pipeline.snapshots.store import SnapshotStore

PREFIX = "mill"
PARTITIONS = 4
COLOURS, THINGS = ("red", "blue", "green"), ("cup", "plate", "lamp", "candle")
USERS = ("ann", "bob", "cyd", "dan", "eve")
START = 1_700_000_000_000
MINUTE = 60_000
BATCH = 16
"""Records in a batch."""


def tiny_settings(folder: Path, backbone: Path, **learn: Any) -> Settings:
    """Settings of a model that learns a batch in milliseconds; everything lies in the folder."""
    sizes: dict[str, Any] = {
        "batch_events": BATCH,
        "wait_seconds": 0.01,
        "linger_seconds": 0,
        "context": 5,
        "segment": 8,
        "overlap": 3,
        "negatives": 8,
        "replay": 2,
        "history_length": 12,
        "checkpoints": folder / "checkpoints",
        "metrics_port": 0,
    }
    return Settings(
        log=LogSettings(url=f"sqlite:///{folder}/log.db", prefix=PREFIX, partitions=PARTITIONS),
        model=ModelSettings(
            backbone=str(backbone),
            lora_rank=2,
            lora_alpha=4,
            adapter_rank=4,
            device="cpu",
            cache=folder / "cache",
        ),
        learn=LearnSettings(**{**sizes, **learn}),
        drift=DriftSettings(warm_up_events=20),
        snapshots=str(folder / "snapshots"),
    )


class Mill:
    """What happens is appended to a real log; `life` is a learn daemon, batch by batch."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = Topics(settings.log.prefix)
        self._stack = ExitStack()
        self.log = self._stack.enter_context(open_log(settings.log.url))
        self.topics.create(self.log, *settings.log.topic_sizes)
        self.writer = self._stack.enter_context(self.log.writer())
        self._acts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def checkpoints(self) -> Checkpoints:
        return checkpoints_of(self.settings)

    @property
    def store(self) -> SnapshotStore:
        """As another process opens it: nothing is remembered of earlier loads."""
        return SnapshotStore(self.settings.snapshots, self.settings.log.prefix)

    def publisher(
        self, store: SnapshotStore | None = None, full_every: int = 50, keep: int = 20
    ) -> Publisher:
        return Publisher(store or self.store, self.writer, self.topics, full_every, keep)

    def learner(self) -> Learner:
        """One that has seen nothing."""
        return make_learner(self.settings)

    def stock(self, *colours: str) -> None:
        """Put four things of each colour into the catalogue."""
        for colour in colours or COLOURS:
            for thing in THINGS:
                self.upsert(f"{colour}-{thing}", f"{colour} {thing}")

    def upsert(self, item: str, title: str) -> None:
        self.writer.append(self.topics.items, item, encode(Item(item=item, title=title)))
        self.writer.flush()

    def act(
        self,
        user: str,
        *items: str,
        event_id: str | None = None,
        time: int | None = None,
        session: str | None = None,
    ) -> None:
        """Append one purchase an item; ids, times and sessions go on by themselves."""
        for item in items:
            self._acts += 1
            event = Interaction(
                event_id=event_id or f"e{self._acts}",
                user=user,
                item=item,
                type=InteractionType.PURCHASE,
                time=time or START + MINUTE * self._acts,
                session=session or f"s{self._acts // 6}",
            )
            self.writer.append(self.topics.interactions, user, encode(event))
        self.writer.flush()

    def shop(self, acts: int) -> None:
        """So many purchases of all users in turn."""
        for number in range(acts):
            user, round_number = USERS[number % len(USERS)], number // len(USERS)
            colour, thing = COLOURS[(number + round_number) % 3], THINGS[(number + round_number // 2) % 4]
            self.act(user, f"{colour}-{thing}")

    def records(self, topic: str) -> list[Record]:
        """All there is in a topic."""
        return list(read(self.log, topic))

    @contextmanager
    def life(self, settings: Settings | None = None) -> Iterator[Life]:
        """A learner with a newly opened journal, at the newest checkpoint or at the log's begin."""
        settings = settings or self.settings
        learner = make_learner(settings)
        told = fingerprint(learner.shape, learner.encoder.backbone_digest, learner.device)
        with self.log.fenced_writer(self.topics.journal, owner="test") as journal:
            start = self.checkpoints.restore(learner)
            start = start or first_position(self.log, self.topics, journal, told)
            with closing(Batches(self.log, self.topics, learner.stream, start)) as batches:
                yield Life(self, learner, start, batches, journal, told)


class Life:
    """A learner from one start to the next stop."""

    def __init__(
        self,
        mill: Mill,
        learner: Learner,
        start: Position,
        batches: Batches,
        journal: FencedWriter,
        fingerprint: str,
    ) -> None:
        learn = mill.settings.learn
        pull = Pull(learn.batch_events, learn.wait_seconds, learn.linger_seconds)
        self.learner = learner
        self.position = start
        self.learned: list[Batch] = []
        self._mill = mill
        self._again = batches.again(read_journal(mill.log, mill.topics.journal, start.journal))
        self._new = batches.new(journal, fingerprint, pull, stop=lambda: False)

    def again(self) -> list[Batch]:
        """Learn what the journal names."""
        return [self._learn(batch) for batch in self._again]

    def new(self, most: int | None = None) -> list[Batch]:
        """Learn new batches until there is nothing to read, or so many."""
        learned: list[Batch] = []
        while len(learned) != most and (batch := next(self._new)) is not None:
            learned.append(self._learn(batch))
        return learned

    def unlearned(self) -> Iterator[Batch]:
        """What `catch_up` would learn, for somebody else to learn."""
        yield from self._again
        while (batch := next(self._new)) is not None:
            yield batch

    def journal_only(self) -> None:
        """Write the next batch into the journal, and get no further."""
        assert next(self._new) is not None

    def catch_up(self) -> None:
        """Learn everything there is."""
        self.again()
        self.new()

    def frozen(self) -> Frozen:
        return freeze(self.learner, self.position)

    def checkpoint(self) -> str:
        """Write a checkpoint; returns its digest."""
        return self._mill.checkpoints.write(self.frozen()).digest

    def snapshot(self, reason: str = "test") -> Snapshot:
        through = max((batch.learned_through for batch in self.learned), default=0)
        model = self._mill.settings.log.prefix
        return snapshot_of(self.learner, model, self.position, through, {}, reason)

    def publish(self, publisher: Publisher) -> Manifest:
        """Publish the snapshot alone, without histories."""
        return publisher.publish(Publication(self.snapshot(), {}, [], []))

    def digest(self) -> str:
        """Of everything that the learner is."""
        return self._mill.checkpoints.digest(self.frozen())

    def _learn(self, batch: Batch) -> Batch:
        self.learner.watch(batch.micro, self.learner.score_and_learn(batch.micro))
        self.position = batch.position
        self.learned.append(batch)
        return batch
