"""The log and the journal as a retrain reads them; it writes to neither."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from typing import NamedTuple

from pipeline.errors import ChampionGone, InvalidEvent
from pipeline.eventlog.intake import interaction_of
from pipeline.eventlog.port import EventLog, Offsets
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction
from pipeline.journal.batch_source import BatchSource
from pipeline.journal.entry import JournalEntry
from pipeline.journal.follow import follow_journal, recorded
from pipeline.journal.position import Position
from pipeline.journal.record_buffer import RecordBuffer
from pipeline.journal.turns import Batch
from pipeline.retraining.candidates import RetrainPlan
from pipeline.signals import check_goes_on
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from pipeline.wording import counted

log = logging.getLogger(__name__)

Entries = Sequence[tuple[JournalEntry, int]]
"""Journal entries, each with the offset after it; at least one."""


class Ahead(NamedTuple):
    """The journal after the champion's position: entries to validate on, then entries to compare on.

    The cut between them is one of the journal, so that no event is in both.
    """

    held_out: Entries
    trial: Entries

    @property
    def end(self) -> Position:
        """The position after the last entry."""
        return Position.after(*self.trial[-1])


@dataclass
class WaitingProgress:
    """Interactions that a retrain waits for until the learner has learned them.

    Attributes:
        what: what they are for.
        needed: how many.
        begin: records of the interactions topic before the first of them.
        now: those before the last one that the learner has learned.
    """

    what: str
    needed: int
    begin: int = 0
    now: int = 0
    _logged: int = field(default=-1, init=False)

    @property
    def learned(self) -> int:
        """How many of them the learner has learned so far."""
        return max(0, self.now - self.begin)

    def report(self) -> None:
        """Log how many are still to come: the first time, and at every tenth of them."""
        tenths = 10 * self.learned // self.needed
        if tenths > self._logged:
            self._logged = tenths
            log.info(
                "waiting until a running `millstream learn` has learned %s, %s",
                counted(self.needed - self.learned, "more interaction"),
                self.what,
            )


@dataclass(frozen=True)
class LogView:
    """Where a retrain reads, and what stops it.

    Attributes:
        stop: set when the work is to be left unfinished.
    """

    event_log: EventLog
    topics: Topics
    stop: Event

    def check_goes_on(self) -> None:
        """Leave the work unfinished once `stop` is set.

        Raises:
            Stopped: it is.
        """
        check_goes_on(self.stop)

    def follow_journal(self, start: int, awaited: WaitingProgress) -> Iterator[tuple[JournalEntry, int]]:
        """Read the entries from an offset on, each with the offset after it; wait for later ones.

        What is awaited is brought up to date with each, and reported while none comes.

        Raises:
            Stopped: `stop` was set.
        """
        for entry, after in follow_journal(self.event_log, self.topics, start, self.stop, awaited.report):
            awaited.now = recorded(self.topics, entry.offsets)
            yield entry, after

    def read_ahead(self, champion: Position, plan: RetrainPlan) -> Ahead:
        """Read as much of the journal after the champion's position as the plan needs; wait for it.

        Raises:
            ChampionGone: another state was adopted there, or a gap came.
            Stopped: `stop` was set.
        """
        what = "to validate and to compare on (retrain.plan.held_out_events, trial_events)"
        awaited = WaitingProgress(what, plan.held_out + plan.trial, recorded(self.topics, champion.offsets))
        entries = self.follow_journal(champion.journal, awaited)
        held_out = _take(entries, awaited, plan.held_out)
        awaited.needed = awaited.learned + plan.trial  # whole batches were taken
        return Ahead(held_out, _take(entries, awaited, awaited.needed))

    def interactions(
        self, starts: Offsets, ends: Offsets, accepts: Callable[[int, Interaction], bool]
    ) -> list[Interaction]:
        """Read each valid interaction between offsets once, in the order of a batch.

        Args:
            starts, ends: offsets.
            accepts: whether an event of a partition is one that the learner takes: duplicates and
                collisions of events before `starts` look valid here.

        Raises:
            OffsetsExpired: the log no longer holds them.
        """
        ours = {source: at for source, at in starts.items() if source.topic == self.topics.interactions}
        with closing(RecordBuffer(self.event_log, ours)) as buffer:
            events = dict[tuple[int, str], Interaction]()
            for record in buffer.cut_to(ends):
                try:
                    event = interaction_of(record)
                except InvalidEvent:
                    continue  # the learner has written a dead letter for it
                if accepts(record.partition, event):
                    events.setdefault((record.partition, event.event_id), event)
            return list(events.values())

    def batches(self, learner: Learner, start: Position, ahead: Ahead) -> Generator[MicroBatch, None, None]:
        """Yield the batches after a position as the journal cut them, for a learner at that position.

        Raises:
            OffsetsExpired: the log no longer holds their records.
            Stopped: `stop` was set.
        """
        with closing(BatchSource(self.event_log, self.topics, start, learner.first_seen)) as source:
            for turn in source.recover([*ahead.held_out, *ahead.trial]):
                self.check_goes_on()
                assert isinstance(turn, Batch), "read_ahead refuses a journal with a break in it"
                yield turn.micro


def _take(
    entries: Iterator[tuple[JournalEntry, int]], awaited: WaitingProgress, needed: int
) -> list[tuple[JournalEntry, int]]:
    """Take the next entries, up to the one with which so many of what is awaited are learned."""
    taken = list[tuple[JournalEntry, int]]()
    for entry, after in entries:
        if entry.is_break:
            raise ChampionGone(f"{entry.cause} replaced the champion")
        taken.append((entry, after))
        if awaited.learned >= needed:
            break
    return taken
