"""Batches from the log: journalled ones again, then new ones, journalled before anyone sees them."""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import dead_letter, interaction_of, item_of
from pipeline.eventlog.port import EventLog, Offsets, Record, TopicPartition
from pipeline.eventlog.topics import Topics
from pipeline.events import event_digest
from pipeline.learning.journal import Journal, JournalEntry, Verb
from pipeline.learning.learner import LearnerShape, MicroBatch
from pipeline.learning.tape import Tape
from pipeline.state.stream import StreamState

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """Where in the journal and the log a learner stands: after this batch."""

    generation: int
    step: int
    offsets: dict[TopicPartition, int]


@dataclass(frozen=True)
class Batch:
    """A MicroBatch with what is known of its records.

    Attributes:
        micro: what the learner gets.
        position: where the learner stands after it.
        again: whether it was journalled before this process started.
        append_times: ms, of the interactions; `learned_through` is the last of all records.
        users: offset after each user's last interaction.
        refused: keys and values of dead letters.
        duplicates: interactions dropped because they were seen before.
    """

    micro: MicroBatch
    position: Position
    again: bool
    append_times: list[int]
    learned_through: int
    users: dict[str, int]
    refused: list[tuple[str, bytes]]
    duplicates: int


class Batches:
    """Cuts the input topics into batches; the journal comes first.

    The catalogue goes before interactions: while there are items to read, a batch takes
    them first, so that an interaction finds its item's text already there.
    """

    def __init__(
        self, event_log: EventLog, topics: Topics, journal: Journal, stream: StreamState, fingerprint: str
    ) -> None:
        self._log = event_log
        self._topics = topics
        self._journal = journal
        self._stream = stream
        self._fingerprint = fingerprint

    def after(
        self, position: Position | None, most: int, poll_seconds: float, stop: Callable[[], bool]
    ) -> Iterator[Batch | None]:
        """All batches after a position (None: after nothing), until told to stop.

        Yields None when there was nothing to read, so that the caller can do what is due.

        Raises:
            OffsetsExpired: the log does not hold what the journal names.
            Fenced: another learner has taken over.
        """
        entries = list(self._journal.entries())
        if not entries:
            entries = [self._started()]
        if position is None:
            position = Position(entries[0].generation, entries[0].step, entries[0].offsets)
        tapes = self._tapes(position.offsets)
        try:
            for entry in entries:
                if (entry.generation, entry.step) > (position.generation, position.step):
                    yield self._journalled(entry, tapes)
                    position = Position(entry.generation, entry.step, entry.offsets)
            yield from self._new(entries[-1], tapes, most, poll_seconds, stop)
        finally:
            for tape in tapes:
                tape.close()

    def _started(self) -> JournalEntry:
        """Write down from where a new model begins."""
        begins = self._log.begin_offsets([self._topics.items, self._topics.interactions])
        entry = JournalEntry.of(1, 0, Verb.START, self._fingerprint, begins)
        self._journal.append(entry)
        return entry

    def _tapes(self, offsets: Offsets) -> tuple[Tape, Tape]:
        items, interactions = (
            Tape(self._log, {source: offset for source, offset in offsets.items() if source.topic == topic})
            for topic in (self._topics.items, self._topics.interactions)
        )
        return items, interactions

    def _journalled(self, entry: JournalEntry, tapes: tuple[Tape, Tape]) -> Batch:
        items, interactions = (tape.cut_to(entry.offsets) for tape in tapes)
        return self._batch(entry, items, interactions, again=True)

    def _new(
        self,
        last: JournalEntry,
        tapes: tuple[Tape, Tape],
        most: int,
        poll_seconds: float,
        stop: Callable[[], bool],
    ) -> Iterator[Batch | None]:
        generation = last.generation
        if last.fingerprint != self._fingerprint:
            generation += 1
            log.warning(
                "machine or settings changed since the journal's end: generation %s begins", generation
            )
        step = last.step
        items_tape, interactions_tape = tapes
        while not stop():
            items = items_tape.cut(most, timeout_seconds=0)
            left = most - len(items)
            interactions = (
                interactions_tape.cut(left, timeout_seconds=0 if items else poll_seconds) if left else []
            )
            if not items and not interactions:
                yield None
                continue
            step += 1
            ends = items_tape.positions() | interactions_tape.positions()
            entry = JournalEntry.of(generation, step, Verb.LEARN, self._fingerprint, ends)
            self._journal.append(entry)
            yield self._batch(entry, items, interactions, again=False)

    def _batch(
        self, entry: JournalEntry, items: list[Record], interactions: list[Record], again: bool
    ) -> Batch:
        refused: list[tuple[str, bytes]] = []
        entries = [item for record in items if (item := _read(item_of, record, refused)) is not None]
        events, times, users = [], [], {}
        for record in interactions:
            event = _read(interaction_of, record, refused)
            if event is not None and self._stream.first_seen(record.partition, event_digest(event.event_id)):
                events.append(event)
                times.append(record.append_time)
                users[event.user] = record.offset + 1
        return Batch(
            micro=MicroBatch(entry.generation, entry.step, entries, events, entry.verb is Verb.LEARN),
            position=Position(entry.generation, entry.step, entry.offsets),
            again=again,
            append_times=times,
            learned_through=max(record.append_time for record in (*items, *interactions)),
            users=users,
            refused=refused,
            duplicates=len(items) + len(interactions) - len(entries) - len(events) - len(refused),
        )


def _read(reader: Callable[[Record], T], record: Record, refused: list[tuple[str, bytes]]) -> T | None:
    try:
        return reader(record)
    except InvalidEvent as error:
        refused.append(dead_letter(record, error))
        return None


def fingerprint(shape: LearnerShape, backbone_digest: str, device: torch.device) -> str:
    """What must be equal for a batch learned again to give the same bits, as 16 hex digits."""
    machine = (
        platform.machine(),
        torch.__version__,
        torch.get_num_threads(),
        torch.backends.cpu.get_cpu_capability(),
    )
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_model()
    told = repr((shape, backbone_digest, machine, device.type, chip))
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return platform.processor()
    return next((line for line in listing.read_text().splitlines() if line.startswith("model name")), "")
