"""Commits: on their cadence, what was learned is made visible (published) and durable (checkpointed).

Background threads write both from copies, one of each kind at a time; an error in one of them
stops the learner.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from consumers.learn.schedule import Cadence, Schedule, Task
from consumers.learn.traces import followed
from pipeline import metrics, tracing
from pipeline.checkpoints.capture import capture, take_changed, update_of
from pipeline.checkpoints.state import LearnerState
from pipeline.checkpoints.store import Checkpoints
from pipeline.control.records import Adoption, ControlRecord, Gap
from pipeline.errors import SnapshotsAhead, StorageUnavailable
from pipeline.evaluation.prequential import Report
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import EventLog, Offsets, TopicPartition, lag
from pipeline.eventlog.topics import Topics
from pipeline.journal.gap import Skip
from pipeline.journal.position import Position, of_topic
from pipeline.journal.turns import Batch, StateSwitch
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.version import Version
from pipeline.state.join_state import ShownImpression
from pipeline.state.outcome_record import outcome_record
from pipeline.tracing import Stage
from pipeline.training.learner import Learner

LAG_SECONDS = 1.0
"""Between two measurements of what waits while nothing is learned."""

log = logging.getLogger(__name__)


class Cadences(NamedTuple):
    """How often the learner publishes and writes a checkpoint."""

    publish: Cadence
    checkpoint: Cadence


@dataclass
class Pending:
    """What has gathered since the last publication."""

    users: dict[str, int] = field(default_factory=dict)
    dead_letters: list[tuple[str, bytes]] = field(default_factory=list)
    control: list[ControlRecord] = field(default_factory=list)
    append_times: list[int] = field(default_factory=list)
    outcomes: list[tuple[str, bytes]] = field(default_factory=list)
    traced: list[str] = field(default_factory=list)

    def add(self, batch: Batch, records: Sequence[ControlRecord], closed: Sequence[ShownImpression]) -> None:
        """Add a batch that was learned, the control records it led to, and the impressions it closed."""
        self.control += records
        self.outcomes += [outcome_record(one, batch.position.version) for one in closed]
        self.users |= batch.users
        self.dead_letters += batch.refused
        self.traced += followed(batch)
        self.append_times += [append_time for _, append_time in batch.news]

    def extend(self, later: Pending) -> None:
        """Add what gathered after this."""
        self.users |= later.users
        self.dead_letters += later.dead_letters
        self.control += later.control
        self.append_times += later.append_times
        self.outcomes += later.outcomes
        self.traced += later.traced


class Commits:
    """Publishes and checkpoints a learner, with its supervisor, as it moves on.

    Attributes:
        position: where the learner stands; None before the first batch.
    """

    def __init__(
        self,
        learner: Learner,
        supervisor: Supervisor,
        model: str,
        event_log: EventLog,
        publisher: Publisher,
        checkpoints: Checkpoints,
        cadences: Cadences,
        unpublished: Pending | None = None,
        start: Position | None = None,
    ) -> None:
        """Begin before the first batch.

        Args:
            learner, supervisor: what is committed.
            model: name of the model.
            event_log, publisher, checkpoints: where it is committed to.
            cadences: how often.
            unpublished: what the commits before these, which the log interrupted, left behind.
            start: where the learner stands.

        Raises:
            DeliveryError: the log did not acknowledge an announcement.
            StorageUnavailable: the snapshot store cannot be read.
        """
        self._learner = learner
        self._supervisor = supervisor
        self._model = model
        self._log = event_log
        self._publisher = publisher
        self._checkpoints = checkpoints
        self._publishing = Schedule(cadences.publish, covered=_last_version(publisher))
        self._checkpointing = Schedule(cadences.checkpoint)
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="commit")
        self._pending = unpublished or Pending()
        self._in_flight = Pending()
        self.position: Position | None = None
        self._start, self._measure_at = start, 0.0
        self._logged: dict[str, tuple[object, ...]] = {}
        if start is not None:
            self._announce_stored(_version(start))
            if start.step and not self._publishing.covers(_version(start)):
                self.position = start

    def add(
        self, batch: Batch, records: Sequence[ControlRecord] = (), outcomes: Sequence[ShownImpression] = ()
    ) -> None:
        """Add a batch that was learned; what it led to goes out with the next publication.

        Args:
            batch: any; the learner is as of its position.
            records: control records.
            outcomes: impressions that it closed.

        Raises:
            SnapshotsAhead: the store already holds this new version: it belongs to another log.
        """
        self._pending.add(batch, records, outcomes)
        self.position = batch.position
        if batch.from_journal:
            self._announce_stored(self._version)
        elif self._publishing.covers(self._version):
            raise SnapshotsAhead(
                f"the snapshot store holds {self._publishing.covered} of {self._model}, but the journal has "
                f"only come to {self._version}: move `snapshots` or log.prefix, or remove the folder"
            )
        for schedule in (self._publishing, self._checkpointing):
            schedule.cadence.count(len(batch.micro.interactions))

    def switch_state(self, switch: StateSwitch, quality: Report) -> None:
        """Publish an adopted state at once; call `finish` before the adoption.

        A state that has learned more than the one that is left, which had gone back to learn again, brings
        histories back that were published as they were in between: all are published.
        """
        adopts, position = switch.adopts, switch.position
        adoption = Adoption(
            order=adopts.order, version=position.version, left=switch.left, reason=adopts.reason
        )
        users = self._ends(position) if self._goes_on(position) else {}
        self.position, self._pending = position, Pending(users=users, control=[adoption])
        if self._publishing.is_ready(self._version):
            self._publish(quality, reason=f"{adopts.kind}: {adopts.reason}")
        else:
            self._announce_stored(self._version)

    def step_over(self, skip: Skip, quality: Report) -> None:
        """Publish and checkpoint the state after a gap, so that neither depends on what is lost.

        Where offsets now mean other records, all histories are published again, because servers
        would leave out acts before the offset where a history ends.
        """
        self.position = skip.position
        gap = Gap(
            version=skip.position.version,
            left=skip.before.version,
            lost=sum(skip.lost.values()),
            reason=skip.reason,
        )
        self._pending.control.append(gap)
        if skip.goes_back:
            self._pending.users = dict.fromkeys(self._learner.stream.histories.users(), 0)
        self.finish(quality, reason="a gap in the log")

    def unpublished(self) -> Pending:
        """Return what no finished publication contains; ask when all writes have ended."""
        if self._publishing.is_written:
            return self._pending
        self._in_flight.extend(self._pending)
        return self._in_flight

    def settle(self, quality: Report) -> None:
        """Begin what is due; raise what stopped an earlier write, unless it was the storage."""
        self._take_back_failures()
        if self._publishing.is_due(self._version):
            self._publish(quality, reason="cadence")
        if self._checkpointing.is_due(self._version) and self._publishing.covers(self._version):
            self._checkpoint()

    def measure_lag(self) -> None:
        """Measure what waits while nothing is learned and so nothing is published, about once a second."""
        now, here = time.monotonic(), self.position or self._start
        if here is not None and now >= self._measure_at:
            self._measure_at = now + LAG_SECONDS
            self._measure_lag(here.offsets)

    def finish(self, quality: Report, reason: str) -> None:
        """Publish and checkpoint what is left, and wait for it.

        Raises:
            StorageUnavailable: the snapshot store or the checkpoint folder refused it.
        """
        try:
            self._wait()
            if self._publishing.is_ready(self._version):
                self._publish(quality, reason)
            if self._checkpointing.is_ready(self._version):
                self._checkpoint()
            self._wait()
        except OSError as error:
            raise StorageUnavailable(f"what was learned cannot be stored: {error}; make room") from error

    def close(self) -> None:
        """Stop the threads once their writes are done."""
        self._threads.shutdown()

    def _ends(self, position: Position) -> dict[str, int]:
        """The users of the learner, each with the offset at a position in the partition of the user's key."""
        ends = {source.partition: end for source, end in self._acts(position).items()}
        return {user: ends[partition_of(user, len(ends))] for user in self._learner.stream.histories.users()}

    def _acts(self, position: Position) -> dict[TopicPartition, int]:
        """The offsets of a position in the topic of interactions: histories follow from no other."""
        return of_topic(Topics(self._model).interactions, position.offsets)

    def _goes_on(self, position: Position) -> bool:
        """Whether a position has more interactions than this one in any partition, or may have."""
        if self.position is None:
            return True
        before = self._acts(self.position)
        return any(end > before.get(source, 0) for source, end in self._acts(position).items())

    def _take_back_failures(self) -> None:
        """Try again later what the store or the disk refused: it may be away for a while, or full."""
        for kind, schedule in (("publication", self._publishing), ("checkpoint", self._checkpointing)):
            error = schedule.storage_error()
            if error is not None:
                metrics.FAILED_COMMITS.labels(kind).inc()
                metrics.COMMITS_FAILING.labels(kind).set(1)
                self._log_failure(kind, error)
                if schedule is self._publishing:
                    self._pending = self.unpublished()
                schedule.take_back()
            elif kind in self._logged and schedule.task is not None and schedule.is_written:
                del self._logged[kind]
                metrics.COMMITS_FAILING.labels(kind).set(0)
                log.info("the storage takes a %s again", kind)

    def _log_failure(self, kind: str, error: OSError) -> None:
        """Log a failure, unless the one before was of the same sort: each attempt has another path."""
        sort = type(error), error.errno or str(error)
        if self._logged.get(kind) != sort:
            self._logged[kind] = sort
            log.error("a %s failed and is tried again until it succeeds: %s", kind, error)

    def _wait(self) -> None:
        self._publishing.wait()
        self._checkpointing.wait()

    @property
    def _version(self) -> Version | None:
        return _version(self.position) if self.position else None

    def _announce_stored(self, version: Version | None) -> None:
        """Announce the newest snapshot of the store: what stored it may have ended before it did so.

        One that cannot be read is published again.
        """
        if version is not None and version == self._publishing.covered and self._publishing.task is None:
            with _storage():
                if not self._publisher.announce(version):
                    self._publishing.covered = None

    def _publish(self, quality: Report, reason: str) -> None:
        assert self.position is not None
        histories, changed = self._learner.stream.histories, take_changed(self._learner)
        is_whole = self._publisher.begins_anew(self.position.generation)
        publication = Publication(
            update_of(
                self._learner, self._model, self.position, quality, reason, None if is_whole else changed
            ),
            {user: (histories.of(user), end) for user, end in self._pending.users.items()},
            self._pending.dead_letters,
            self._pending.append_times,
            [(record.key, record.encode()) for record in self._pending.control],
            {user: older for user in self._pending.users if (older := histories.older(user)).size},
            self._pending.outcomes,
        )
        self._in_flight, self._pending, at = self._pending, Pending(), self.position
        traced = self._in_flight.traced
        self._publishing.begin(
            self._version, self._threads, lambda: self._write_publication(publication, at, traced)
        )

    def _checkpoint(self) -> None:
        """Checkpoint what is published: a restart gathers no histories or dead letters from before it."""
        assert self.position is not None
        captured = capture(self._learner, self._supervisor, self.position)
        published = self._publishing.task
        self._checkpointing.begin(
            self._version, self._threads, lambda: self._write_checkpoint(captured, published)
        )

    def _write_publication(self, publication: Publication, at: Position, traced: Sequence[str]) -> None:
        """Publish what was learned up to a position, and report its offsets."""
        began = time.time()
        with metrics.PUBLISH_SECONDS.time():
            self._publisher.publish(publication)
        now = time.time()
        for append_time in publication.append_times:
            metrics.PUBLISHED_FRESHNESS.observe(max(0.0, now - append_time / 1000))
        for event_id in traced:
            tracing.record(event_id, Stage.PUBLISH, began, now, snapshot=at.version)
        self._log.report(f"{self._model}.learn", at.offsets)
        self._measure_lag(at.offsets)

    def _measure_lag(self, offsets: Offsets) -> None:
        """Measure what waits; impressions apart, because nothing that is learned waits for them."""
        ends = self._log.end_offsets({source.topic for source in offsets})
        waiting, shown = lag(ends, offsets), Topics(self._model).impressions
        impressions = sum(of_topic(shown, waiting).values())
        metrics.IMPRESSIONS_LAG.set(impressions)
        metrics.LAG.labels("learn").set(sum(waiting.values()) - impressions)

    def _write_checkpoint(self, captured: LearnerState, published: Task | None) -> None:
        if published is not None:
            published.result()
        with metrics.CHECKPOINT_SECONDS.time():
            manifest = self._checkpoints.write(captured)
        found = {"checkpoint": f"{manifest.generation}-{manifest.step}", "digest": manifest.digest[:16]}
        log.info("checkpoint %s, digest %s", *found.values(), extra=found)


def _last_version(publisher: Publisher) -> Version | None:
    with _storage():
        return publisher.last_version()


def _version(position: Position) -> Version:
    return Version(position.generation, position.step)


@contextmanager
def _storage() -> Iterator[None]:
    """Say that the snapshot store is away if it is."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"the snapshot store cannot be read: {error}") from error
