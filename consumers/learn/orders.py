"""Orders from the control topic: pauses, and promotions and rollbacks, prepared to be carried out.

The latter use the mechanism of crash recovery: a checkpoint is put in place and tried on a scratch
learner; then a journal entry says that the learner goes on from it.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pipeline import metrics
from pipeline.bounded import fault_of
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.rebuild import make_again, rebuild
from pipeline.checkpoints.store import KEEP_ADOPTED, Checkpoints, restore_from
from pipeline.control.pauses import read_pause, standing_pause
from pipeline.control.records import AdoptionOrder, Order, Pause, Promotion, Refusal, Resume, order_in
from pipeline.control.refusals import refused_orders
from pipeline.errors import CheckpointCorrupt, OffsetsExpired, OrderRefused, StorageUnavailable
from pipeline.eventlog.port import NO_TOPIC_ID, EventLog, LogWriter, Offsets, Record, TopicPartition
from pipeline.eventlog.replaced import same_topics
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import Adopts
from pipeline.journal.position import Position, of_topic
from pipeline.journal.turns import AdoptionPlan, StateSwitch, Turn
from pipeline.snapshots.version import Version
from pipeline.training.learner import Learner

log = logging.getLogger(__name__)

REMEDY = (
    "put the checkpoints back, or let another model learn the same events: copy them with `millstream topics "
    "migrate --to` another prefix (`--partitions` as now), then set log.prefix"
)
READ_RECORDS = 100
ADOPTED = "adopted"
NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
"""A folder with another name is a stranger's."""


class CommandReader:
    """Reads the control topic and decides which state to adopt next."""

    def __init__(
        self,
        event_log: EventLog,
        topics: Topics,
        writer: LogWriter,
        checkpoints: Checkpoints,
        another: Callable[[], Learner],
    ) -> None:
        """`another`: factory for scratch learners that validate a state; they need no supervisor."""
        self._log = event_log
        self._topics = topics
        self._writer = writer
        self._checkpoints = checkpoints
        self._another = another
        self._next: int | None = None
        self._pause: Pause | None = None
        self._paused_until = 0
        self._refused = set[str]()
        self._read: deque[Record] = deque()
        self._source = TopicPartition(topics.control, 0)
        self._reader = event_log.reader({self._source: 0})

    def position(self) -> int:
        """Return the offset of the next record to be obeyed; call `due` first."""
        assert self._next is not None
        return self._next

    @property
    def is_paused(self) -> bool:
        """Whether a person wants nothing new to be learned; call `due` first."""
        return self._pause is not None

    def due(self, position: Position) -> AdoptionPlan | None:
        """Return what to adopt now, if anything; refuse orders that cannot be carried out.

        Raises:
            StorageUnavailable: a state to adopt cannot be stored; read the order again later.
        """
        if self._next is None:
            self._next = self._held(position.control)
            self._reader.seek({self._source: self._next})
            # Orders before this end are in the pause that is read: an older one would undo it for a moment.
            self._paused_until = self._log.end_offsets([self._source.topic])[self._source]
            self._set_pause(read_pause(self._log, self._topics))
            # While nothing is learned, no position that follows a refusal is journalled.
            self._refused = refused_orders(self._log, self._topics)
        if not self._read:
            self._read.extend(self._reader.poll(READ_RECORDS, timeout_seconds=0))
        while self._read:
            record = self._read.popleft()
            self._next = record.offset + 1
            order = _order(record)
            if order is None or order.key in self._refused:
                continue
            if isinstance(order, Pause | Resume):
                if record.offset >= self._paused_until:
                    self._set_pause(standing_pause([order], self._pause))
                continue
            try:
                return self._plan(order, position)
            except (OrderRefused, CheckpointCorrupt, OffsetsExpired) as error:
                self._refuse(order, str(error))
            except OSError as error:
                raise StorageUnavailable(f"{order.key} waits, its state cannot be stored: {error}") from error
        return None

    def with_states(self, turns: Iterable[Turn]) -> Iterator[Turn]:
        """Yield the turns that the journal names; before an adoption, make its state again if it is gone.

        Raises:
            CheckpointCorrupt: it cannot be made again, as that of a candidate.
            StorageUnavailable: it cannot be stored.
        """
        for turn in turns:
            if isinstance(turn, StateSwitch):
                self._make_sure(turn)
            yield turn

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()

    def _set_pause(self, pause: Pause | None) -> None:
        if pause is not None and self._pause is None:
            log.warning("learning is paused until `millstream resume`: %s", pause.reason)
        if pause is None and self._pause is not None:
            log.warning("learning goes on")
        self._pause = pause
        metrics.LEARNING_PAUSED.set(self.is_paused)

    def _held(self, offset: int) -> int:
        """Return an offset, or where the control topic begins if it does not hold that offset any more."""
        topics, source = [self._source.topic], self._source
        begin = self._log.begin_offsets(topics)[source]
        if begin <= offset <= self._log.end_offsets(topics)[source]:
            return offset
        log.warning("%s no longer holds offset %s: orders before %s are void", source, offset, begin)
        return begin

    def _plan(self, order: AdoptionOrder, position: Position) -> AdoptionPlan:
        if order.generation not in (None, position.generation):
            raise OrderRefused(
                f"it is for generation {order.generation}, but this is generation {position.generation}"
            )
        if isinstance(order, Promotion):
            state = self._checkpoints.candidate_state(order.candidate)
            found = self._validate(state)
            fold_to: Offsets = {}
        else:
            state = Path(ADOPTED, str(position.generation + 1))
            found = self._recreate(Version.parse(order.version), state)
            fold_to = {} if order.relearn else _furthest(self._learned(position), position.fold_to)
        found = self._with_optional(found, position)
        self._check_held(found, position)
        adopts = Adopts(kind=order.kind, state=str(state), order=order.key, reason=order.reason)
        return AdoptionPlan(adopts, found.step, found.offsets, found.through, fold_to)

    def _learned(self, position: Position) -> Offsets:
        """Return the offsets of what is learned: impressions are only joined."""
        topics = self._topics
        return of_topic(topics.items, position.offsets) | of_topic(topics.interactions, position.offsets)

    def _with_optional(self, found: Position, position: Position) -> Position:
        """Let a state go on though the log does not hold the impressions or users that follow it.

        It goes on with the impressions that come now, and reads all users again. It may know none of either,
        because it is older than their place in the journal.
        """
        topics = {source.topic for source in position.offsets}
        begins, ends = self._log.begin_offsets(topics), self._log.end_offsets(topics)
        for topic, instead in (
            (self._topics.impressions, position.offsets),
            (self._topics.users, begins),
        ):
            sources = of_topic(topic, position.offsets)
            ids = {topic: position.topic_ids.get(topic, NO_TOPIC_ID)}
            holds = all(begins[source] <= found.offsets.get(source, -1) <= ends[source] for source in sources)
            if not (holds and same_topics(ids, found.topic_ids)):
                offsets = found.offsets | {source: instead[source] for source in sources}
                found = replace(found, offsets=offsets, topic_ids={**found.topic_ids, **ids})
        return found

    def _validate(self, state: Path) -> Position:
        """Load a candidate's state into a scratch learner; refuse one that does not fit or is not finite."""
        return restore_from(self._checkpoints.folder / state, self._another(), None)

    def _recreate(self, version: Version, state: Path) -> Position:
        """Rebuild an earlier version on a scratch learner, and store it as a state to adopt."""
        learner = self._another()
        found = rebuild(self._log, self._topics, learner, None, self._checkpoints, until=version)
        if found.version != str(version):
            raise OrderRefused(f"the journal knows no version {version}, only {found.version} before it")
        self._checkpoints.write_to(self._checkpoints.folder / state, capture(learner, None, found))
        self._prune()
        return found

    def _make_sure(self, switch: StateSwitch) -> None:
        """Make sure that a state can be adopted, on a scratch learner, before the learner leaves its own."""
        scratch, state = self._another(), self._checkpoints.folder / switch.adopts.state
        try:
            restore_from(state, scratch, None)
        except CheckpointCorrupt as error:
            try:
                found = make_again(self._log, self._topics, scratch, self._checkpoints, switch)
                self._checkpoints.write_to(state, capture(scratch, None, found))
            except (CheckpointCorrupt, OffsetsExpired) as again:
                raise CheckpointCorrupt(
                    f"{switch.position.version} went on from {switch.adopts.state}, which is gone ({error}), "
                    f"and {again}: {REMEDY}"
                ) from None
            except OSError as again:
                raise StorageUnavailable(f"{state} cannot be stored: {again}") from again

    def _check_held(self, found: Position, position: Position) -> None:
        """Refuse a state whose next records the log has lost, or never had."""
        if found.offsets.keys() != position.offsets.keys():
            raise OrderRefused("it was learned from other topics or partitions")
        if not same_topics(found.topic_ids, position.topic_ids):
            raise OrderRefused("it was learned from topics that have been deleted and made again since")
        topics = {source.topic for source in found.offsets}
        begins, ends = self._log.begin_offsets(topics), self._log.end_offsets(topics)
        for source, offset in found.offsets.items():
            if not begins[source] <= offset <= ends[source]:
                raise OffsetsExpired(*source, offset, begins[source], ends[source])

    def _prune(self) -> None:
        found = (
            path for path in (self._checkpoints.folder / ADOPTED).glob("*") if NUMBER.fullmatch(path.name)
        )
        for path in sorted(found, key=lambda path: int(path.name))[:-KEEP_ADOPTED]:
            shutil.rmtree(path, ignore_errors=True)

    def _refuse(self, order: AdoptionOrder, reason: str) -> None:
        self._refused.add(order.key)
        metrics.REFUSED_ORDERS.inc()
        log.error("%s is refused: %s", order.key, reason)
        refusal = Refusal(order=order.key, reason=reason)
        self._writer.append(self._topics.control, refusal.key, refusal.encode())


def _order(record: Record) -> Order | None:
    try:
        return order_in(record.value) if record.value else None
    except (TypeError, ValueError) as error:
        log.error("%s/%s cannot be decoded: %s", record.source, record.offset, fault_of(error))
        return None


def _furthest(one: Offsets, other: Offsets) -> dict[TopicPartition, int]:
    return {source: max(offset, other.get(source, 0)) for source, offset in one.items()}
