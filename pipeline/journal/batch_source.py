"""Batches from the log: those of the journal first, then new ones, journalled before they are learned.

Adoptions may come between them: the batches after one are those after another state.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from pipeline.config import BatchConfig
from pipeline.eventlog.port import EventLog, FencedWriter
from pipeline.eventlog.refusal_limit import RefusalLimit
from pipeline.eventlog.topics import Topics
from pipeline.events import CatalogueRecord, Interaction
from pipeline.journal.cutter import Cutter
from pipeline.journal.decoding import BatchDecoder
from pipeline.journal.entry import Adopts, JournalEntry, Verb
from pipeline.journal.inputs import Cut, Inputs, latest
from pipeline.journal.position import Position
from pipeline.journal.turns import AdoptionPlan, Batch, StateSwitch, Turn

log = logging.getLogger(__name__)


class Orders(Protocol):
    """A reader of orders that prepares them to be carried out."""

    @property
    def is_paused(self) -> bool:
        """Whether a person wants nothing new to be learned."""

    def due(self, position: Position) -> AdoptionPlan | None:
        """Return what to adopt now, if anything, for a learner at the given position."""

    def position(self) -> int:
        """Return the offset of the control topic's next record to be obeyed."""


class BatchSource:
    """Cuts the input topics into batches, from a position on: those of the journal, then new ones."""

    def __init__(
        self,
        event_log: EventLog,
        topics: Topics,
        start: Position,
        first_seen: Callable[[int, Interaction], bool],
    ) -> None:
        """Begin at a position; see `BatchDecoder` for `first_seen`."""
        self._log, self._topics = event_log, topics
        self._decoder = BatchDecoder(first_seen)
        self._inputs = Inputs(event_log, topics, start.offsets)
        self._position = start
        self._learned_before = 0

    def recover(self, entries: Iterable[tuple[JournalEntry, int]]) -> Iterator[Turn]:
        """Yield the batches and adoptions that journal entries name.

        Raises:
            OffsetsExpired: the log no longer holds their records.
        """
        for entry, journalled in entries:
            if entry.adopts is not None:
                yield self._switch_state(entry, entry.adopts, journalled)
            elif entry.verb is Verb.SKIP:
                self._go_to(entry, journalled)
            else:
                yield self._batch(entry, journalled, self._inputs.cut_to(entry.offsets), from_journal=True)

    def new(
        self,
        journal: FencedWriter,
        config: BatchConfig,
        orders: Orders,
        fingerprint: str,
        stop: Callable[[], bool],
        limit: RefusalLimit,
        has_new_text: Callable[[CatalogueRecord], bool],
        reads_users: bool = False,
    ) -> Iterator[Turn | None]:
        """Yield new batches and adoptions, each journalled before it is yielded, until `stop` says so.

        `has_new_text` says whether a record has a text to be encoded, which bounds a batch; `reads_users`
        whether users are read, as they are for ever once they were. A generation that
        another machine, release or setting opens begins with a batch even if there is nothing to read, so
        that it is published: what the generation before published may be unreadable now.

        Yields None when there was nothing to read, so that the caller can do what is due by time; while
        learning is paused; and for ever once so many records were refused that `limit` is exceeded.

        Raises:
            Fenced: another learner took over the journal.
        """
        if reads_users:
            self._inputs.read_users()
        cutter = Cutter(self._log, self._topics, self._inputs, config, has_new_text)
        generation = self._generation(fingerprint)
        while not stop():
            at, plan = self._position, orders.due(self._position)
            if plan is not None:
                generation += 1
                yield self._adopt(journal, plan, generation, fingerprint, orders.position())
                continue
            is_due = generation != at.generation or cutter.users_are_new(at)
            if limit.is_exceeded or (orders.is_paused and not is_due):
                time.sleep(config.wait_seconds)
                yield None
                continue
            verb, records = cutter.cut_nothing(at) if orders.is_paused else cutter.cut(at)
            if verb is Verb.LEARN and not any(records) and not is_due:
                yield None
                continue
            entry = self._entry(generation, verb, fingerprint, records, orders.position())
            batch = self._batch(entry, journal.append(entry.encode()) + 1, records, from_journal=False)
            limit.add(len(records.items) + len(records.interactions), self._unlearned(batch.refused))
            cutter.add(batch.micro)
            yield batch

    def close(self) -> None:
        """Close the readers."""
        self._inputs.close()

    def _generation(self, fingerprint: str) -> int:
        """Return the generation of new batches: the next one if what learns is not what learned before."""
        generation = self._position.generation
        if self._position.fingerprint == fingerprint:
            return generation
        log.warning(
            "machine or settings differ from those of the journal: generation %s begins", generation + 1
        )
        return generation + 1

    def _entry(
        self, generation: int, verb: Verb, fingerprint: str, records: Cut, control: int
    ) -> JournalEntry:
        at = self._position
        return JournalEntry.of(
            generation,
            at.step + 1,
            verb,
            fingerprint,
            self._inputs.positions(),
            through=max(at.through, latest(records.items), latest(records.interactions)),
            control=control,
            fold_to=at.fold_to if verb is Verb.FOLD else None,
            topic_ids=at.topic_ids,
        )

    def _unlearned(self, refused: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Return the refusals that cost learning: not those of impressions, however many there are."""
        shown = f"{self._topics.impressions}/"
        return [(place, letter) for place, letter in refused if not place.startswith(shown)]

    def _adopt(
        self, journal: FencedWriter, plan: AdoptionPlan, generation: int, fingerprint: str, control: int
    ) -> StateSwitch:
        entry = JournalEntry.of(
            generation,
            plan.step,
            Verb.ADOPT,
            fingerprint,
            plan.offsets,
            through=plan.through,
            control=control,
            adopts=plan.adopts,
            fold_to=plan.fold_to,
            topic_ids=self._position.topic_ids,
        )
        return self._switch_state(entry, plan.adopts, journal.append(entry.encode()) + 1)

    def _switch_state(self, entry: JournalEntry, adopts: Adopts, journalled: int) -> StateSwitch:
        left = self._position.version
        self._learned_before = max(self._learned_before, self._position.through)
        self._go_to(entry, journalled)
        return StateSwitch(self._position, adopts, left)

    def _go_to(self, entry: JournalEntry, journalled: int) -> None:
        """Go on at the offsets of an entry that is no batch."""
        self._position = Position.after(entry, journalled)
        self._inputs.seek(entry.offsets)

    def _batch(self, entry: JournalEntry, journalled: int, records: Cut, from_journal: bool) -> Batch:
        self._position = Position.after(entry, journalled)
        return self._decoder.batch(entry, records, self._position, from_journal, self._learned_before)
