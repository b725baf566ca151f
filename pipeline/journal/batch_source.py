"""Batches from the log: those of the journal first, then new ones, journalled before they are learned.

Adoptions may come between them: the batches after one are those after another state.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Protocol, TypeVar

from pipeline.config import BatchConfig
from pipeline.errors import InvalidEvent
from pipeline.event_fields import LATEST_MS
from pipeline.eventlog.intake import dead_letter, impression_of, interaction_of, item_of, user_of
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import EventLog, FencedWriter, Offsets, Record, TopicPartition, lag
from pipeline.eventlog.refusal_limit import RefusalLimit
from pipeline.eventlog.topics import Topics
from pipeline.events import CatalogueRecord, Impression, Interaction
from pipeline.journal.entry import Adopts, JournalEntry, Verb
from pipeline.journal.position import Position, of_topic
from pipeline.journal.record_buffer import RecordBuffer
from pipeline.journal.rehearsals import Rehearsals
from pipeline.state.micro_batch import MicroBatch

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """A MicroBatch and what its records say besides.

    Attributes:
        micro: what the learner gets.
        position: of the learner after it.
        from_journal: whether it was journalled before this process started.
        append_times: ms, of the interactions.
        learned_before: append time in ms until which this process had learned before it went back to an
            earlier state; what is not later is learned again.
        users: those who acted, each with the next offset in the partition of the user's key: up to there
            the learner knows all of the user's acts.
        refused: keys and values of dead letters.
        duplicates: number of interactions dropped because they were seen before.
    """

    micro: MicroBatch
    position: Position
    from_journal: bool
    append_times: list[int]
    learned_before: int
    users: dict[str, int]
    refused: list[tuple[str, bytes]]
    duplicates: int

    @property
    def news(self) -> list[tuple[Interaction, int]]:
        """The interactions that are learned for the first time, with their append times."""
        if self.from_journal:
            return []
        timed = zip(self.micro.interactions, self.append_times, strict=True)
        return [(event, time) for event, time in timed if time > self.learned_before]


@dataclass(frozen=True)
class StateSwitch:
    """A switch to another state, from which the learner goes on.

    Attributes:
        position: of the learner after it, the first of a new generation.
        adopts: the state, and the order that asked for it.
        left: the version before.
    """

    position: Position
    adopts: Adopts
    left: str


class Cut(NamedTuple):
    """The records of a batch by topic, each in the order of a batch."""

    items: list[Record]
    interactions: list[Record]
    impressions: list[Record]
    users: list[Record]


Turn = Batch | StateSwitch
"""What one journal entry makes the learner do: learn a batch, or go on from another state."""


@dataclass(frozen=True)
class AdoptionPlan:
    """An order that can be carried out.

    Attributes:
        adopts: the state, already in place, and the order.
        step: of that state.
        offsets: of the next input records after that state.
        through: append time in ms of the last record before them.
        fold_to: offsets up to which records are folded, not learned; empty to learn all.
    """

    adopts: Adopts
    step: int
    offsets: Offsets
    through: int
    fold_to: Offsets


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
    """Cuts the input topics into batches, from a position on: those of the journal, then new ones.

    The catalogue goes before interactions: a batch takes the items that wait first, so that an
    interaction's item has its text by then. It takes so many items and new texts at most, so that
    interactions do not wait for a long feed; but the first interaction waits for all items that are there.

    Interactions never wait for impressions: a batch takes those that were appended before the end of its
    interactions, so many at most. Journals that know no impressions yet begin with them at their end: the
    first entry that names them says where, and has none itself.

    Users are read if the model reads their attributes. A batch takes those that wait first, so many at most;
    the first interaction waits for all that are there. A batch without records says in the journal where they
    begin: at the first that the log holds. Those that cannot be read are passed over: servers write their
    letters.
    """

    def __init__(
        self,
        event_log: EventLog,
        topics: Topics,
        start: Position,
        first_seen: Callable[[int, Interaction], bool],
    ) -> None:
        """`first_seen` remembers an event of a partition; False for a duplicate.

        It raises InvalidEvent for an id that another event has.
        """
        self._first_seen = first_seen
        self._position = start
        self._learned_before = 0
        self._has_warned = False
        self._log, self._topics = event_log, topics
        self._begins: Offsets = {}
        self._items, self._interactions = (
            RecordBuffer(event_log, of_topic(topic, start.offsets))
            for topic in (topics.items, topics.interactions)
        )
        self._impressions: RecordBuffer | None = None
        self._users: RecordBuffer | None = None
        self._read_optional(start.offsets)

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
                yield self._batch(entry, journalled, self._cut_to(entry.offsets), from_journal=True)

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
        generation, rehearsals = self._position.generation, Rehearsals(config)
        if reads_users and self._users is None:
            self._users = RecordBuffer(self._log, self._log.begin_offsets([self._topics.users]))
        self._begins = self._log.begin_offsets([self._topics.interactions])
        if self._position.fingerprint != fingerprint:
            generation += 1
            log.warning(
                "machine or settings differ from those of the journal: generation %s begins", generation
            )
        while not stop():
            plan = orders.due(self._position)
            if plan is not None:
                generation += 1
                yield self._adopt(journal, plan, generation, fingerprint, orders.position())
                continue
            is_due = generation != self._position.generation or self._users_are_new
            if limit.is_exceeded or (orders.is_paused and not is_due):
                time.sleep(config.wait_seconds)
                yield None
                continue
            verb, records = (
                self._nothing() if orders.is_paused else self._next(config, has_new_text, rehearsals)
            )
            if verb is Verb.LEARN and not any(records) and not is_due:
                yield None
                continue
            entry = JournalEntry.of(
                generation,
                self._position.step + 1,
                verb,
                fingerprint,
                self._positions(),
                through=max([self._position.through, *map(_latest, (records.items, records.interactions))]),
                control=orders.position(),
                fold_to=self._position.fold_to if verb is Verb.FOLD else None,
                topic_ids=self._position.topic_ids,
            )
            journalled = journal.append(entry.encode()) + 1
            batch = self._batch(entry, journalled, records, from_journal=False)
            limit.add(len(records.items) + len(records.interactions), self._unlearned(batch.refused))
            rehearsals.add(batch.micro)
            yield batch

    def close(self) -> None:
        """Close the readers."""
        for buffer in (self._items, self._interactions, self._impressions, self._users):
            if buffer is not None:
                buffer.close()

    def _next(
        self,
        config: BatchConfig,
        has_new_text: Callable[[CatalogueRecord], bool],
        rehearsals: Rehearsals,
    ) -> tuple[Verb, Cut]:
        """Rehearse if a rehearsal is owed and little waits; else cut the next records."""
        if rehearsals.is_owed and not self._folds and self._waiting() <= rehearsals.most_waiting:
            return Verb.REHEARSE, Cut([], [], [], [])
        return self._pull(config, has_new_text)

    def _nothing(self) -> tuple[Verb, Cut]:
        """Cut nothing, for a batch that only opens a generation."""
        return Verb.FOLD if self._folds else Verb.LEARN, Cut([], [], [], [])

    @property
    def _folds(self) -> bool:
        """Whether the next records are to be folded."""
        at = self._position.offsets
        return any(at[source] < end for source, end in self._position.fold_to.items())

    def _waiting(self) -> int:
        """Count the records of the log that are to be learned."""
        ends = self._log.end_offsets([self._topics.items, self._topics.interactions])
        return sum(lag(ends, self._items.positions() | self._interactions.positions()).values())

    def _pull(self, config: BatchConfig, has_new_text: Callable[[CatalogueRecord], bool]) -> tuple[Verb, Cut]:
        """Cut the next records: those to be folded first, then those to be learned."""
        if self._impressions is None:
            ends = self._log.end_offsets([self._topics.impressions])
            self._impressions = RecordBuffer(self._log, ends)
        if self._users_are_new and not self._folds:
            return Verb.LEARN, Cut([], [], [], [])
        users = self._users.cut(config.users, 0) if self._users and not self._users_are_new else []
        if self._folds:
            at, fold_to = self._position.offsets, self._position.fold_to
            # Never go back: some partitions may be past their end already.
            near = {source: min(end, at[source] + config.events) for source, end in fold_to.items()}
            ends = {source: max(at[source], end) for source, end in near.items()}
            items, interactions = self._items.cut_to(ends), self._interactions.cut_to(ends)
            shown = self._shown_until(_latest(interactions), config.impressions)
            return Verb.FOLD, Cut(items, interactions, shown, users)
        items = self._items.cut(config.items, timeout_seconds=0, fits=_within(config.texts, has_new_text))
        if (items or users) and self._is_born_amid_others():
            return Verb.LEARN, Cut(items, [], [], users)
        wait, linger = (0.0, 0.0) if items or users else (config.wait_seconds, config.linger_seconds)
        interactions = self._interactions.cut(config.events, wait, linger)
        until = _latest(interactions) if self._interactions.waiting else LATEST_MS
        return Verb.LEARN, Cut(items, interactions, self._shown_until(until, config.impressions), users)

    def _shown_until(self, time: int, most: int) -> list[Record]:
        """Cut impressions appended up to a time in ms; none until the journal says where they begin.

        What was shown later waits, because the clock of the outcomes would run ahead of the acts.
        """
        if self._impressions is None or not of_topic(self._topics.impressions, self._position.offsets):
            return []
        return self._impressions.cut(most, timeout_seconds=0, fits=lambda record: record.append_time <= time)

    @property
    def _users_are_new(self) -> bool:
        """Whether users are read, and the journal does not name them yet."""
        return self._users is not None and not of_topic(self._topics.users, self._position.offsets)

    def _is_born_amid_others(self) -> bool:
        """Whether no interaction was taken ever, and items or users wait."""
        at = self._position.offsets
        if any(at[source] > begin for source, begin in self._begins.items()):
            return False
        read = self._items.positions() | (self._users.positions() if self._users else {})
        ends = self._log.end_offsets({source.topic for source in read})
        return any(read[source] < end for source, end in ends.items())

    def _cut_to(self, ends: Offsets) -> Cut:
        """Cut what a journal entry names.

        The first that names impressions or users, or none of them again, has none.
        """
        self._impressions = self._named(self._impressions, self._topics.impressions, ends)
        self._users = self._named(self._users, self._topics.users, ends)
        impressions, users = (
            buffer.cut_to(ends) if buffer else [] for buffer in (self._impressions, self._users)
        )
        return Cut(self._items.cut_to(ends), self._interactions.cut_to(ends), impressions, users)

    def _named(self, buffer: RecordBuffer | None, topic: str, offsets: Offsets) -> RecordBuffer | None:
        """Return what reads a topic; a new one, from offsets on, where these or the reader lack it."""
        if buffer is not None and of_topic(topic, offsets):
            return buffer
        return self._reopened(buffer, topic, offsets)

    def _reopened(self, buffer: RecordBuffer | None, topic: str, offsets: Offsets) -> RecordBuffer | None:
        """Read a topic from offsets on; not at all if these do not name it."""
        if buffer is not None:
            buffer.close()
        ours = of_topic(topic, offsets)
        return RecordBuffer(self._log, ours) if ours else None

    def _read_optional(self, offsets: Offsets) -> None:
        """Read what not every journal names, from offsets on."""
        self._impressions = self._reopened(self._impressions, self._topics.impressions, offsets)
        self._users = self._reopened(self._users, self._topics.users, offsets)

    def _positions(self) -> Offsets:
        every = self._items, self._interactions, self._impressions, self._users
        return {source: at for buffer in every if buffer for source, at in buffer.positions().items()}

    def _unlearned(self, refused: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Return the refusals that cost learning: not those of impressions, however many there are."""
        return [(place, letter) for place, letter in refused if not self._is_shown(place)]

    def _is_shown(self, place: str) -> bool:
        return place.startswith(f"{self._topics.impressions}/")

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
        self._items.seek(entry.offsets)
        self._interactions.seek(entry.offsets)
        self._read_optional(entry.offsets)

    def _batch(
        self,
        entry: JournalEntry,
        journalled: int,
        records: Cut,
        from_journal: bool,
    ) -> Batch:
        refused: list[tuple[str, bytes]] = []
        entries = [item for record in records.items if (item := _read(item_of, record, refused)) is not None]
        events, times, users = [], [], {}
        ends = of_topic(self._topics.interactions, entry.offsets)
        for record in records.interactions:
            event = _read(self._new_interaction, record, refused)
            if event is not None:
                events.append(event)
                times.append(record.append_time)
                users[event.user] = self._end_in_home(event.user, record, ends)
        valid = len(refused) + len(entries) + len(events)
        shown = _timed(records.impressions, refused)
        described = [user for record in records.users if (user := _read(user_of, record, [])) is not None]
        self._position = Position.after(entry, journalled)
        return Batch(
            micro=MicroBatch(
                entry.generation,
                entry.step,
                entries,
                events,
                entry.verb is Verb.LEARN,
                times=list(accumulate(times, max)),
                impressions=shown,
                users=described,
                rehearses=entry.verb is Verb.REHEARSE,
            ),
            position=self._position,
            from_journal=from_journal,
            append_times=times,
            learned_before=self._learned_before,
            users=users,
            refused=refused,
            duplicates=len(records.items) + len(records.interactions) - valid,
        )

    def _end_in_home(self, user: str, record: Record, ends: Offsets) -> int:
        """Return where a batch ends in the partition of a user's key; warn of a record in another one."""
        home = TopicPartition(record.topic, partition_of(user, len(ends)))
        if record.source != home and not self._has_warned:
            self._has_warned = True
            log.warning(
                "%s/%s is not in the partition of its key: a producer has another partitioner. Its acts are "
                "learned and served, in the order of append times; let it partition by murmur2 of the user",
                record.source,
                record.offset,
            )
        return ends[home]

    def _new_interaction(self, record: Record) -> Interaction | None:
        """Decode an interaction; None for a duplicate."""
        event = interaction_of(record)
        return event if self._first_seen(record.partition, event) else None


def _latest(records: Sequence[Record]) -> int:
    return max((record.append_time for record in records), default=0)


def _timed(records: Sequence[Record], refused: list[tuple[str, bytes]]) -> list[tuple[int, Impression]]:
    """Decode impressions, each with its append time; that of an earlier one where a broker's clock went back.

    Records in the order of a batch are ascending by that time, see `in_order`.
    """
    times = accumulate((record.append_time for record in records), max)
    read = (
        (time, _read(impression_of, record, refused)) for time, record in zip(times, records, strict=True)
    )
    return [(time, shown) for time, shown in read if shown is not None]


def _within(texts: int, has_new_text: Callable[[CatalogueRecord], bool]) -> Callable[[Record], bool]:
    """Return a test of one record after the other: whether they have so many new texts at most so far."""
    left = texts

    def fits(record: Record) -> bool:
        nonlocal left
        item = _read(item_of, record, [])
        left -= item is not None and has_new_text(item)
        return left >= 0

    return fits


def _read(reader: Callable[[Record], T], record: Record, refused: list[tuple[str, bytes]]) -> T | None:
    try:
        return reader(record)
    except InvalidEvent as error:
        refused.append(dead_letter(record, error))
        return None
