"""The cutter: which records a new batch takes, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from pipeline.config import BatchConfig
from pipeline.errors import InvalidEvent
from pipeline.event_fields import LATEST_MS
from pipeline.eventlog.intake import item_of
from pipeline.eventlog.port import EventLog, Record
from pipeline.eventlog.topics import Topics
from pipeline.events import CatalogueRecord
from pipeline.journal.entry import Verb
from pipeline.journal.inputs import Cut, Inputs, latest
from pipeline.journal.position import Position, of_topic
from pipeline.journal.rehearsals import Rehearsals
from pipeline.state.micro_batch import MicroBatch


class Cutter:
    """Cuts what waits in the input topics into batches.

    The catalogue goes before interactions: a batch takes the items that wait first, so that an
    interaction's item has its text by then. It takes so many items and new texts at most, so that
    interactions do not wait for a long feed; but the first interaction waits for all items that are there.

    Interactions never wait for impressions: a batch takes those that were appended before the end of its
    interactions, so many at most. Journals that know no impressions yet begin with them at their end: the
    first entry that names them says where, and has none itself.

    A batch takes the users that wait first, so many at most; the first interaction waits for all that are
    there. A batch without records says in the journal where they begin: at the first that the log holds.
    """

    def __init__(
        self,
        event_log: EventLog,
        topics: Topics,
        inputs: Inputs,
        config: BatchConfig,
        has_new_text: Callable[[CatalogueRecord], bool],
    ) -> None:
        """`has_new_text` says whether a record has a text to be encoded, which bounds a batch."""
        self._log, self._topics, self._inputs, self._config = event_log, topics, inputs, config
        self._has_new_text = has_new_text
        self._rehearsals = Rehearsals(config)
        self._begins = event_log.begin_offsets([topics.interactions])

    def cut(self, at: Position) -> tuple[Verb, Cut]:
        """Rehearse if a rehearsal is owed and little waits; else cut the next records: those to be folded
        first, then those to be learned.
        """
        owed = self._rehearsals
        if owed.is_owed and not _folds(at) and self._inputs.waiting() <= owed.most_waiting:
            return Verb.REHEARSE, Cut()
        self._inputs.read_impressions()
        if _folds(at):
            return Verb.FOLD, self._to_fold(at)
        return Verb.LEARN, Cut() if self.users_are_new(at) else self._to_learn(at)

    def cut_nothing(self, at: Position) -> tuple[Verb, Cut]:
        """Cut nothing, for a batch that only opens a generation."""
        return Verb.FOLD if _folds(at) else Verb.LEARN, Cut()

    def users_are_new(self, at: Position) -> bool:
        """Whether users are read, and the journal does not name them yet."""
        return self._inputs.users is not None and not of_topic(self._topics.users, at.offsets)

    def add(self, batch: MicroBatch) -> None:
        """Note a batch that was cut, which rehearsals follow from."""
        self._rehearsals.add(batch)

    def _to_fold(self, at: Position) -> Cut:
        # Never go back: some partitions may be past their end already.
        near = {
            source: min(end, at.offsets[source] + self._config.events) for source, end in at.fold_to.items()
        }
        ends = {source: max(at.offsets[source], end) for source, end in near.items()}
        users = self._users(at)
        items, interactions = self._inputs.items.cut_to(ends), self._inputs.interactions.cut_to(ends)
        return Cut(items, interactions, self._shown_until(latest(interactions), at), users)

    def _to_learn(self, at: Position) -> Cut:
        config, interactions = self._config, self._inputs.interactions
        users = self._users(at)
        fits = _within(config.texts, self._has_new_text)
        items = self._inputs.items.cut(config.items, timeout_seconds=0, fits=fits)
        if (items or users) and self._is_born_amid_others(at):
            return Cut(items, users=users)
        wait, linger = (0.0, 0.0) if items or users else (config.wait_seconds, config.linger_seconds)
        acts = interactions.cut(config.events, wait, linger)
        until = latest(acts) if interactions.waiting else LATEST_MS
        return Cut(items, acts, self._shown_until(until, at), users)

    def _users(self, at: Position) -> Sequence[Record]:
        """Cut users; none until the journal says where they begin."""
        users = self._inputs.users
        return () if users is None or self.users_are_new(at) else users.cut(self._config.users, 0)

    def _shown_until(self, time: int, at: Position) -> Sequence[Record]:
        """Cut impressions appended up to a time in ms; none until the journal says where they begin.

        What was shown later waits, because the clock of the outcomes would run ahead of the acts.
        """
        if not of_topic(self._topics.impressions, at.offsets):
            return ()
        return self._inputs.read_impressions().cut(
            self._config.impressions, timeout_seconds=0, fits=lambda record: record.append_time <= time
        )

    def _is_born_amid_others(self, at: Position) -> bool:
        """Whether no interaction was taken ever, and items or users wait."""
        if any(at.offsets[source] > begin for source, begin in self._begins.items()):
            return False
        inputs = self._inputs
        read = inputs.items.positions() | (inputs.users.positions() if inputs.users else {})
        ends = self._log.end_offsets({source.topic for source in read})
        return any(read[source] < end for source, end in ends.items())


def _folds(at: Position) -> bool:
    """Whether the next records are to be folded."""
    return any(at.offsets[source] < end for source, end in at.fold_to.items())


def _within(texts: int, has_new_text: Callable[[CatalogueRecord], bool]) -> Callable[[Record], bool]:
    """Return a test of one record after the other: whether they have so many new texts at most so far."""
    left = texts

    def fits(record: Record) -> bool:
        nonlocal left
        with suppress(InvalidEvent):  # its letter is written once it is cut
            left -= has_new_text(item_of(record))
        return left >= 0

    return fits
