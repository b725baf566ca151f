"""Decode the records of a journal entry into a batch; what cannot be read becomes a dead letter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeVar

from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import dead_letter, impression_of, interaction_of, item_of, user_of
from pipeline.eventlog.partitioner import partition_of
from pipeline.eventlog.port import Offsets, Record, TopicPartition
from pipeline.events import Impression, Interaction
from pipeline.journal.entry import JournalEntry, Verb
from pipeline.journal.inputs import Cut
from pipeline.journal.position import Position, of_topic
from pipeline.journal.turns import Batch
from pipeline.state.micro_batch import MicroBatch

T = TypeVar("T")

log = logging.getLogger(__name__)

Letters = list[tuple[str, bytes]]
"""Keys and values of dead letters."""


class BatchDecoder:
    """Decodes the records of batches.

    Users that cannot be read are passed over: servers write their letters.
    """

    def __init__(self, first_seen: Callable[[int, Interaction], bool]) -> None:
        """`first_seen` remembers an event of a partition; False for a duplicate.

        It raises InvalidEvent for an id that another event has.
        """
        self._first_seen = first_seen
        self._has_warned = False

    def batch(
        self, entry: JournalEntry, records: Cut, position: Position, from_journal: bool, learned_before: int
    ) -> Batch:
        """Decode the records of an entry, after which the learner is at a position; see `Batch`."""
        refused: Letters = []
        entries = [item for record in records.items if (item := _read(item_of, record, refused)) is not None]
        events, times, users = self._interactions(records.interactions, entry, refused)
        valid = len(refused) + len(entries) + len(events)
        shown = _timed(records.impressions, refused)
        described = [user for record in records.users if (user := _read(user_of, record, [])) is not None]
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
            position=position,
            from_journal=from_journal,
            append_times=times,
            learned_before=learned_before,
            users=users,
            refused=refused,
            duplicates=len(records.items) + len(records.interactions) - valid,
        )

    def _interactions(
        self, records: Sequence[Record], entry: JournalEntry, refused: Letters
    ) -> tuple[list[Interaction], list[int], dict[str, int]]:
        """Decode interactions: events, their append times, and where the batch ends for each user."""
        events, times, users = list[Interaction](), list[int](), dict[str, int]()
        ends = of_topic(records[0].topic, entry.offsets) if records else {}
        for record in records:
            event = _read(self._new_interaction, record, refused)
            if event is not None:
                events.append(event)
                times.append(record.append_time)
                users[event.user] = self._end_in_home(event.user, record, ends)
        return events, times, users

    def _new_interaction(self, record: Record) -> Interaction | None:
        """Decode an interaction; None for a duplicate."""
        event = interaction_of(record)
        return event if self._first_seen(record.partition, event) else None

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


def _timed(records: Sequence[Record], refused: Letters) -> list[tuple[int, Impression]]:
    """Decode impressions, each with its append time; that of an earlier one where a broker's clock went back.

    Records in the order of a batch are ascending by that time, see `in_order`.
    """
    times = accumulate((record.append_time for record in records), max)
    read = (
        (time, _read(impression_of, record, refused)) for time, record in zip(times, records, strict=True)
    )
    return [(time, shown) for time, shown in read if shown is not None]


def _read(reader: Callable[[Record], T], record: Record, refused: Letters) -> T | None:
    try:
        return reader(record)
    except InvalidEvent as error:
        refused.append(dead_letter(record, error))
        return None
