"""A learn daemon in the hands of a test: batch by batch, and made again from the journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pipeline.eventlog.port import FencedWriter
from pipeline.learning.batches import Batch, Batches, Handover, Pull
from pipeline.learning.frozen import Frozen, freeze
from pipeline.learning.journal import read_journal
from pipeline.learning.learner import Learner
from pipeline.learning.orders import OrderBook
from pipeline.learning.position import Position
from pipeline.learning.publishing import Publication, Publisher, content_digest_of, snapshot_of
from pipeline.snapshots.snapshot import Manifest, Snapshot

if TYPE_CHECKING:
    from tests.mill import Mill


class Rebuilt(NamedTuple):
    """A learner that was made again, and where it stands."""

    learner: Learner
    position: Position
    digest: str
    """Of everything that it is."""

    @property
    def frozen(self) -> Frozen:
        return freeze(self.learner, self.position)

    @property
    def content(self) -> str:
        """Digest of what a snapshot of it says."""
        return content_digest_of(snapshot_of(self.learner, "", self.position, {}, "test"))


class Life:
    """A learner from one start to the next stop."""

    def __init__(
        self,
        mill: Mill,
        learner: Learner,
        start: Position,
        batches: Batches,
        journal: FencedWriter,
        orders: OrderBook,
    ) -> None:
        learn = mill.settings.learn
        pull = Pull(learn.batch_events, learn.wait_seconds, learn.linger_seconds)
        self.learner = learner
        self.position = start
        self.learned: list[Batch] = []
        self._mill = mill
        self._again = batches.again(read_journal(mill.log, mill.topics.journal, start.journal))
        self._new = batches.new(journal, pull, orders, stop=lambda: False)

    def again(self) -> list[Batch]:
        """Learn what the journal names, and adopt what it says."""
        return [batch for turn in self._again if (batch := self._take(turn)) is not None]

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

    def unlearned(self) -> Iterator[Batch | Handover]:
        """What `catch_up` would learn, for somebody else to learn."""
        yield from self._again
        while (turn := next(self._new)) is not None:
            yield turn

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
        return snapshot_of(self.learner, self._mill.settings.log.prefix, self.position, {}, reason)

    def publish(self, publisher: Publisher) -> Manifest:
        """Publish the snapshot alone, without histories."""
        return publisher.publish(Publication(self.snapshot(), {}, [], []))

    def digest(self) -> str:
        """Of everything that the learner is."""
        return self._mill.checkpoints.digest(self.frozen())

    def _take(self, turn: Batch | Handover) -> Batch | None:
        self.position = turn.position
        if isinstance(turn, Handover):
            self._mill.checkpoints.adopt(self.learner, turn)
            return None
        self.learner.watch(turn.micro, self.learner.score_and_learn(turn.micro))
        self.learned.append(turn)
        return turn
