"""Batches from the log: journalled ones again, then new ones, journalled before they are learned."""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import torch

from pipeline.errors import CheckpointCorrupt, InvalidEvent
from pipeline.eventlog.intake import dead_letter, interaction_of, item_of
from pipeline.eventlog.port import EventLog, FencedWriter, Record, TopicPartition
from pipeline.eventlog.topics import Topics
from pipeline.events import event_digest
from pipeline.learning.journal import JournalEntry, Verb, read_journal
from pipeline.learning.learner import LearnerShape, MicroBatch
from pipeline.learning.tape import Tape
from pipeline.state.stream import StreamState

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """Where in the journal and the log a learner stands: after a batch.

    Attributes:
        fingerprint: of whoever learned that batch.
        journal: offset of the next journal entry.
        offsets: of the next input records.
    """

    generation: int
    step: int
    fingerprint: str
    journal: int
    offsets: dict[TopicPartition, int]

    @classmethod
    def after(cls, entry: JournalEntry, journalled: int) -> Self:
        """The position after a journal entry, which ends before the offset `journalled`."""
        return cls(entry.generation, entry.step, entry.fingerprint, journalled, entry.offsets)


@dataclass(frozen=True)
class Pull:
    """How a new batch is made.

    Attributes:
        most: records in it.
        wait_seconds: for a first record.
        linger_seconds: for others to join it.
    """

    most: int
    wait_seconds: float
    linger_seconds: float


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
    """Cuts the input topics into batches, from a position on: journalled ones again, then new ones.

    The catalogue goes before interactions: while there are items to read, a batch takes
    them first, so that an interaction finds its item's text already there.
    """

    def __init__(self, event_log: EventLog, topics: Topics, stream: StreamState, start: Position) -> None:
        self._stream = stream
        self._position = start
        self._items, self._interactions = (
            Tape(event_log, {source: at for source, at in start.offsets.items() if source.topic == topic})
            for topic in (topics.items, topics.interactions)
        )

    def again(self, entries: Iterable[tuple[JournalEntry, int]]) -> Iterator[Batch]:
        """The batches that the journal names.

        Raises:
            OffsetsExpired: the log does not hold them any more.
        """
        for entry, journalled in entries:
            records = self._items.cut_to(entry.offsets), self._interactions.cut_to(entry.offsets)
            yield self._batch(entry, journalled, *records, again=True)

    def new(
        self, journal: FencedWriter, fingerprint: str, pull: Pull, stop: Callable[[], bool]
    ) -> Iterator[Batch | None]:
        """New batches, each journalled before it is handed out, until told to stop.

        Yields None when there was nothing to read, so that the caller can do what is due.

        Raises:
            Fenced: another learner has taken over.
        """
        generation = self._position.generation
        if self._position.fingerprint != fingerprint:
            generation += 1
            log.warning("machine or settings are not those of the journal: generation %s begins", generation)
        while not stop():
            items = self._items.cut(pull.most, timeout_seconds=0)
            wait, linger = (0.0, 0.0) if items else (pull.wait_seconds, pull.linger_seconds)
            interactions = self._interactions.cut(pull.most - len(items), wait, linger)
            if not items and not interactions:
                yield None
                continue
            ends = self._items.positions() | self._interactions.positions()
            entry = JournalEntry.of(generation, self._position.step + 1, Verb.LEARN, fingerprint, ends)
            journalled = journal.append(entry.encode()) + 1
            yield self._batch(entry, journalled, items, interactions, again=False)

    def close(self) -> None:
        """Let go of the readers."""
        self._items.close()
        self._interactions.close()

    def _batch(
        self,
        entry: JournalEntry,
        journalled: int,
        items: list[Record],
        interactions: list[Record],
        again: bool,
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
        self._position = Position.after(entry, journalled)
        return Batch(
            micro=MicroBatch(entry.generation, entry.step, entries, events, entry.verb is Verb.LEARN),
            position=self._position,
            again=again,
            append_times=times,
            # There is none where compaction took the items of a batch that is learned again.
            learned_through=max((record.append_time for record in (*items, *interactions)), default=0),
            users=users,
            refused=refused,
            duplicates=len(items) + len(interactions) - len(entries) - len(events) - len(refused),
        )


def first_position(event_log: EventLog, topics: Topics, journal: FencedWriter, fingerprint: str) -> Position:
    """Where learning began; written into an empty journal, as of now.

    Raises:
        CheckpointCorrupt: the journal has lost its beginning, and no checkpoint stands in for it.
    """
    first = next(read_journal(event_log, topics.journal), None)
    if first is not None:
        return beginning(topics, *first)
    begins = event_log.begin_offsets([topics.items, topics.interactions])
    entry = JournalEntry.of(1, 0, Verb.START, fingerprint, begins)
    return Position.after(entry, journal.append(entry.encode()) + 1)


def beginning(topics: Topics, entry: JournalEntry, journalled: int) -> Position:
    """The position after a journal's first entry.

    Raises:
        CheckpointCorrupt: it is not the one that learning began with.
    """
    if entry.verb is not Verb.START:
        raise CheckpointCorrupt(
            f"{topics.journal} no longer reaches back to its beginning, and there is no checkpoint: "
            "put one back, or begin another model under another log.prefix"
        )
    return Position.after(entry, journalled)


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
