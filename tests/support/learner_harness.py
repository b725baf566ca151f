"""A learn daemon in the hands of a test: batch by batch, and made again from the journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from consumers.learn.orders import CommandReader
from pipeline.checkpoints.capture import capture, snapshot_of
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.checkpoints.state import LearnerState
from pipeline.eventlog.port import FencedWriter
from pipeline.journal.batch_source import Batch, BatchSource, Pull, StateSwitch
from pipeline.journal.entry import read_journal
from pipeline.journal.position import Position
from pipeline.snapshots.digest import snapshot_digest
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.snapshot import Manifest, Snapshot
from pipeline.training.learner import Learner

if TYPE_CHECKING:
    from tests.support.model_harness import ModelHarness


class Rebuilt(NamedTuple):
    """A learner that was made again, and where it stands."""

    learner: Learner
    position: Position
    digest: str
    """Of everything that it is."""

    @property
    def captured(self) -> LearnerState:
        return capture(self.learner, self.position)

    @property
    def content(self) -> str:
        """Digest of what a snapshot of it says."""
        return snapshot_digest(snapshot_of(self.learner, "", self.position, {}, "test"))


class LearnerHarness:
    """A learner from one start to the next stop."""

    def __init__(
        self,
        harness: ModelHarness,
        learner: Learner,
        start: Position,
        batches: BatchSource,
        journal: FencedWriter,
        orders: CommandReader,
    ) -> None:
        learn = harness.settings.learn
        pull = Pull(learn.batch_events, learn.wait_seconds, learn.linger_seconds)
        self.learner = learner
        self.position = start
        self.learned: list[Batch] = []
        self._harness = harness
        self._recover = batches.recover(read_journal(harness.log, harness.topics.journal, start.journal))
        self._new = batches.new(journal, pull, orders, fingerprint(learner), stop=lambda: False)

    def recover(self) -> list[Batch]:
        """Learn what the journal names, and adopt what it says."""
        return [batch for turn in self._recover if (batch := self._take(turn)) is not None]

    def new(self, most: int | None = None) -> list[Batch]:
        """Learn new batches until there is nothing to read, or so many; obey orders between them."""
        learned: list[Batch] = []
        while len(learned) != most and (turn := next(self._new)) is not None:
            batch = self._take(turn)
            learned += [batch] if batch else []
        return learned

    def turns(self, amount: int) -> None:
        """Take so many new batches and adoptions; there must be as many."""
        for _ in range(amount):
            turn = next(self._new)
            assert turn is not None
            self._take(turn)

    def unlearned(self) -> Iterator[Batch | StateSwitch]:
        """What `catch_up` would learn, for somebody else to learn."""
        yield from self._recover
        while (turn := next(self._new)) is not None:
            yield turn

    def journal_only(self) -> None:
        """Write the next batch into the journal, and get no further."""
        assert next(self._new) is not None

    def catch_up(self) -> None:
        """Learn everything there is."""
        self.recover()
        self.new()

    def captured(self) -> LearnerState:
        return capture(self.learner, self.position)

    def checkpoint(self) -> str:
        """Write a checkpoint; returns its digest."""
        return self._harness.checkpoints.write(self.captured()).digest

    def snapshot(self, reason: str = "test") -> Snapshot:
        return snapshot_of(self.learner, self._harness.settings.log.prefix, self.position, {}, reason)

    def publish(self, publisher: Publisher) -> Manifest:
        """Publish the snapshot alone, without histories."""
        return publisher.publish(Publication(self.snapshot(), {}, [], []))

    def digest(self) -> str:
        """Of everything that the learner is."""
        return self._harness.checkpoints.digest(self.captured())

    def _take(self, turn: Batch | StateSwitch) -> Batch | None:
        self.position = turn.position
        if isinstance(turn, StateSwitch):
            self._harness.checkpoints.adopt(self.learner, turn)
            return None
        self.learner.watch(turn.micro, self.learner.score_and_learn(turn.micro))
        self.learned.append(turn)
        return turn
