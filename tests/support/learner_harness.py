"""A learn daemon that tests drive batch by batch, and a learner that was rebuilt from the journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from consumers.learn.orders import CommandReader
from pipeline.checkpoints.capture import capture, take_changed, update_of
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.checkpoints.state import LearnerState
from pipeline.evaluation.prequential import Report
from pipeline.eventlog.port import FencedWriter
from pipeline.eventlog.refusal_limit import RefusalLimit
from pipeline.journal.batch_source import BatchSource
from pipeline.journal.entry import read_journal
from pipeline.journal.position import Position
from pipeline.journal.turns import Batch, StateSwitch, Turn
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.digest import snapshot_digest
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.snapshot import Manifest, Snapshot, Update
from pipeline.state.join_state import ShownImpression
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise

if TYPE_CHECKING:
    from tests.support.model_harness import ModelHarness


def snapshot_of(learner: Learner, model: str, position: Position, quality: Report, reason: str) -> Snapshot:
    """Copy the whole state that servers need."""
    return Snapshot.of(update_of(learner, model, position, quality, reason))


class Rebuilt(NamedTuple):
    """A rebuilt learner with its supervisor and position."""

    learner: Learner
    supervisor: Supervisor
    position: Position
    digest: str
    """Of the whole state."""

    @property
    def captured(self) -> LearnerState:
        return capture(self.learner, self.supervisor, self.position)

    @property
    def content(self) -> str:
        """Digest of the content of its snapshot."""
        return snapshot_digest(snapshot_of(self.learner, "", self.position, {}, "test"))


def whole_update(snapshot: Snapshot, manifest: Manifest) -> Update:
    """All rows of a snapshot, to be published with another manifest."""
    small = snapshot.encoder, snapshot.learned, snapshot.mixer, snapshot.ratings, snapshot.values
    return Update(manifest, *small, snapshot.latest, [snapshot.table.layer()], is_whole=True)


class LearnerHarness:
    """A learner from a start to the next stop."""

    def __init__(
        self,
        harness: ModelHarness,
        learner: Learner,
        supervisor: Supervisor,
        start: Position,
        batches: BatchSource,
        journal: FencedWriter,
        orders: CommandReader,
    ) -> None:
        self.learner = learner
        self.supervisor = supervisor
        self.position = start
        self.learned: list[Batch] = []
        self.closed: dict[str, list[ShownImpression]] = {}
        """Outcomes by the version that closed them."""
        self._harness = harness
        entries = read_journal(harness.log, harness.topics.journal, start.journal)
        self._recover = orders.with_states(batches.recover(entries))
        self._new = batches.new(
            journal,
            harness.settings.batch,
            orders,
            fingerprint(learner, supervisor),
            stop=lambda: False,
            limit=RefusalLimit("learn", harness.settings.refusals, "mend it"),
            has_new_text=learner.has_new_text,
            reads_users=bool(learner.born.sizes.user_attributes),
        )

    def recover(self) -> list[Batch]:
        """Learn and adopt what the journal names."""
        return [batch for turn in self._recover if (batch := self._take(turn)) is not None]

    def new(self, most: int | None = None) -> list[Batch]:
        """Learn new batches, at most so many; obey orders between them."""
        learned: list[Batch] = []
        while len(learned) != most and (turn := next(self._new)) is not None:
            batch = self._take(turn)
            learned += [batch] if batch else []
        return learned

    def turns(self, amount: int) -> None:
        """Take exactly so many new batches and adoptions."""
        for _ in range(amount):
            turn = next(self._new)
            assert turn is not None
            self._take(turn)

    def unlearned(self) -> Iterator[Turn]:
        """Yield what `catch_up` would learn, without learning it."""
        yield from self._recover
        while (turn := next(self._new)) is not None:
            yield turn

    def journal_only(self) -> None:
        """Write the next batch into the journal without learning it."""
        assert next(self._new) is not None

    def catch_up(self) -> None:
        """Learn everything in journal and log."""
        self.recover()
        self.new()

    def captured(self) -> LearnerState:
        return capture(self.learner, self.supervisor, self.position)

    def checkpoint(self) -> str:
        """Write a checkpoint; returns its digest."""
        return self._harness.checkpoints.write(self.captured()).digest

    def snapshot(self, reason: str = "test") -> Snapshot:
        return snapshot_of(self.learner, self._harness.settings.log.prefix, self.position, {}, reason)

    def publish(self, publisher: Publisher) -> Manifest:
        """Publish the snapshot alone, without histories."""
        return publisher.publish(Publication(self.update(publisher), {}, [], []))

    def update(self, publisher: Publisher | None = None, reason: str = "test") -> Update:
        """What changed since the publisher's last version; all without one, or if it must begin anew."""
        is_whole = publisher is None or publisher.begins_anew(self.position.generation)
        changed = take_changed(self.learner)
        return update_of(
            self.learner,
            self._harness.settings.log.prefix,
            self.position,
            {},
            reason,
            None if is_whole else changed,
        )

    def digest(self) -> str:
        """Digest of the whole state."""
        return self._harness.checkpoints.digest(self.captured())

    def _take(self, turn: Turn) -> Batch | None:
        self.position = turn.position
        if isinstance(turn, StateSwitch):
            self._harness.checkpoints.adopt(self.learner, self.supervisor, turn)
            return None
        scores = self.learner.score_and_learn(turn.micro)
        self.closed[turn.position.version] = self.learner.stream.closed
        supervise(self.supervisor, self.learner, turn.micro, scores)
        self.learned.append(turn)
        return turn
