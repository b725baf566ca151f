"""Commits: on their cadence, what was learned is made visible (published) and durable (checkpointed).

Both are written by background threads from frozen copies, one of each kind at a time; what
stops one stops the learner.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline import metrics
from pipeline.checkpoints.capture import capture, snapshot_of
from pipeline.checkpoints.state import LearnerState
from pipeline.checkpoints.store import Checkpoints
from pipeline.control.records import Adoption, ControlRecord
from pipeline.errors import SnapshotsAhead
from pipeline.evaluation.prequential import Report
from pipeline.eventlog.port import EventLog, lag
from pipeline.journal.batch_source import Batch, StateSwitch
from pipeline.journal.position import Position
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.snapshot import Version
from pipeline.training.learner import Learner

log = logging.getLogger(__name__)

Task = Future[None]


@dataclass
class Cadence:
    """Due when so many seconds or so many events have passed since the last time."""

    seconds: float
    events: int
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)
    _passed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def count(self, events: int) -> None:
        """So many events have passed."""
        self._passed += events

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return self._passed >= self.events or self.clock() - self._last >= self.seconds

    def restart(self) -> None:
        """It was done just now."""
        self._last, self._passed = self.clock(), 0


@dataclass
class Pending:
    """What has gathered since the last publication."""

    users: dict[str, int] = field(default_factory=dict)
    dead_letters: list[tuple[str, bytes]] = field(default_factory=list)
    control: list[ControlRecord] = field(default_factory=list)
    append_times: list[int] = field(default_factory=list)

    def add(self, batch: Batch, records: Sequence[ControlRecord]) -> None:
        """Add a batch that was learned, and the control records that it led to."""
        self.control += records
        self.users |= batch.users
        self.dead_letters += batch.refused
        if not batch.from_journal:
            self.append_times += batch.append_times


class Commits:
    """Publishes and checkpoints a learner as it moves on."""

    def __init__(
        self,
        model: str,
        event_log: EventLog,
        publisher: Publisher,
        checkpoints: Checkpoints,
        publish: Cadence,
        checkpoint: Cadence,
    ) -> None:
        self._model = model
        self._log = event_log
        self._publisher = publisher
        self._checkpoints = checkpoints
        self._cadences = {"publish": publish, "checkpoint": checkpoint}
        self._tasks: dict[str, Task] = {}
        self._done: dict[str, Version | None] = {"publish": publisher.last_version(), "checkpoint": None}
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="commit")
        self._pending = Pending()
        self._position: Position | None = None

    def add(self, batch: Batch, records: Sequence[ControlRecord] = ()) -> None:
        """Add a batch that was learned; its control records go out with the next publication.

        Raises:
            SnapshotsAhead: nobody can have published what this batch led to, and yet it is there.
        """
        self._pending.add(batch, records)
        self._position = batch.position
        if not batch.from_journal and self._covers("publish"):
            raise SnapshotsAhead(
                f"the snapshot store holds {self._done['publish']} of {self._model}, but the journal has "
                f"only come to {self._version}: move `snapshots` or log.prefix, or remove the folder"
            )
        for cadence in self._cadences.values():
            cadence.count(len(batch.micro.interactions))

    def switch_state(self, switch: StateSwitch, learner: Learner, quality: Report) -> None:
        """Another state was adopted: show it at once. What came before must be finished."""
        adopts, position = switch.adopts, switch.position
        adoption = Adoption(
            order=adopts.order, version=position.version, left=switch.left, reason=adopts.reason
        )
        self._position, self._pending = position, Pending(control=[adoption])
        if self._ready("publish"):
            self._publish(learner, quality, reason=f"{adopts.kind}: {adopts.reason}")

    def settle(self, learner: Learner, quality: Report) -> None:
        """Begin what is due; raises what stopped an earlier one."""
        if self._ready("publish") and self._cadences["publish"].due:
            self._publish(learner, quality, reason="cadence")
        if self._ready("checkpoint") and self._cadences["checkpoint"].due and self._covers("publish"):
            self._checkpoint(learner)

    def finish(self, learner: Learner, quality: Report, reason: str) -> None:
        """Publish and checkpoint what is left, and wait for it."""
        self._wait()
        if self._ready("publish"):
            self._publish(learner, quality, reason)
        if self._ready("checkpoint"):
            self._checkpoint(learner)
        self._wait()

    def close(self) -> None:
        """Let go of the threads, when what they do is done."""
        self._threads.shutdown()

    def _ready(self, kind: str) -> bool:
        """Whether there is something new, and the last one is through."""
        task = self._tasks.get(kind)
        if task is not None and task.done():
            task.result()
        return (task is None or task.done()) and self._version is not None and not self._covers(kind)

    def _covers(self, kind: str) -> bool:
        """Whether the last one, perhaps still being written, has all that was learned."""
        done = self._done[kind]
        return done is not None and self._version is not None and done >= self._version

    def _wait(self) -> None:
        for task in self._tasks.values():
            task.result()

    @property
    def _version(self) -> Version | None:
        return Version(self._position.generation, self._position.step) if self._position else None

    def _publish(self, learner: Learner, quality: Report, reason: str) -> None:
        assert self._position is not None
        publication = Publication(
            snapshot_of(learner, self._model, self._position, quality, reason),
            {user: (learner.stream.histories.of(user), end) for user, end in self._pending.users.items()},
            self._pending.dead_letters,
            self._pending.append_times,
            [(record.key, record.encode()) for record in self._pending.control],
        )
        self._pending = Pending()
        self._begin("publish", lambda: self._write_publication(publication))

    def _checkpoint(self, learner: Learner) -> None:
        """Of what is published: histories and dead letters from before it are not gathered again."""
        assert self._position is not None
        captured, published = capture(learner, self._position), self._tasks.get("publish")
        self._begin("checkpoint", lambda: self._write_checkpoint(captured, published))

    def _begin(self, kind: str, work: Callable[[], None]) -> None:
        self._done[kind] = self._version
        self._cadences[kind].restart()
        self._tasks[kind] = self._threads.submit(work)

    def _write_publication(self, publication: Publication) -> None:
        with metrics.PUBLISH_SECONDS.time():
            manifest = self._publisher.publish(publication)
        now = time.time()
        for append_time in publication.append_times:
            metrics.PUBLISHED_FRESHNESS.observe(max(0.0, now - append_time / 1000))
        offsets = manifest.learned_offsets
        self._log.report(f"{self._model}.learn", offsets)
        ends = self._log.end_offsets({source.topic for source in offsets})
        metrics.LAG.labels("learn").set(sum(lag(ends, offsets).values()))

    def _write_checkpoint(self, captured: LearnerState, published: Task | None) -> None:
        if published is not None:
            published.result()
        with metrics.CHECKPOINT_SECONDS.time():
            manifest = self._checkpoints.write(captured)
        log.info("checkpoint %s-%s, digest %s", manifest.generation, manifest.step, manifest.digest[:16])
