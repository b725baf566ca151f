"""What a server knows: a base (one snapshot) and a tail (what it has read since).

The state is the follower's alone; requests see a `View` of it, which never changes. Same
offsets, same answer: everything in a View follows from the snapshot, the histories and the
records up to its offsets, not from the portions or the moments in which they were read. (A
user with almost as many unlearned acts as a history has room for is the one exception: a
late server no longer sees what preceded them.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from consumers.serve.state.item_index import CatalogueEntry, ItemIndex, build_index
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.new_texts import TextOverlay
from consumers.serve.state.tail import Tail, TailEvent
from pipeline import metrics
from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import interaction_of, item_of
from pipeline.eventlog.port import Offsets, Record, TopicPartition, named
from pipeline.events import Interaction, event_digest
from pipeline.model.content.text import TextEncoder
from pipeline.model.item_table import Rows
from pipeline.state.catalogue import content_digest
from pipeline.state.counts import PairCounts, grown
from pipeline.state.covisitation import Covisitation
from pipeline.state.dedupe import SeenEvents
from pipeline.state.histories import Act, Histories, History
from pipeline.state.popularity import Popularity

DEDUPE_WINDOW = 5_000
"""Events a partition within which a duplicate is known; a late server reads as far back."""
NOTHING: Mapping[str, str] = {}
NO_ROWS: Mapping[str, int] = {}
NO_OFFSETS: Offsets = {}


@dataclass(frozen=True)
class View:
    """A server's knowledge as of some offsets, over n items; never changed.

    Attributes:
        base: the snapshot, None before the first.
        shelf: the items.
        items: content, residual and bias of each row; None without a base.
        memory, popularity: base and tail together.
        offsets: ``topic/partition`` to the next offset that was not read.
        oldest_unlearned: append time in ms of the oldest interaction that the base lacks.
        unlearned: interactions that the base lacks.
        untold: texts that wait to be encoded.
    """

    base: LoadedSnapshot | None
    index: ItemIndex
    items: Rows | None
    covisitation: Covisitation
    popularity: Popularity
    offsets: dict[str, int]
    oldest_unlearned: int | None
    unlearned: int
    pending_texts: int

    def staleness(self, now_ms: int) -> float:
        """Seconds since the append of the oldest unlearned interaction, 0 if there is none."""
        if self.oldest_unlearned is None:
            return 0.0
        return max(0, now_ms - self.oldest_unlearned) / 1000


class ServingState:
    """Reads records, and takes the place of its base when told to; for one thread.

    Attributes:
        base: the snapshot, None before the first.
        positions: next offset of each partition read.
        ahead: histories that moved on since they were last taken out, by user.
    """

    def __init__(
        self,
        base: LoadedSnapshot | None,
        histories: Histories,
        reached: Mapping[str, int],
        topics: tuple[str, str],
    ) -> None:
        """Start with nothing read.

        Args:
            base: the snapshot to start from.
            histories: what is known of the users; only read.
            reached: the offset that each user's history reaches; that of a user without one
                begins where the base ends, so that nobody who was forgotten comes back.
            topics: names of the topics of interactions and of items.
        """
        self.base = base
        self.positions: dict[TopicPartition, int] = {}
        self.ahead: dict[str, History] = {}
        self._histories = histories
        self._reached = reached
        self._floor = base.offsets if base else NO_OFFSETS
        self._interactions, self._items = topics
        self._listed: dict[str, CatalogueEntry | None] = {}
        self._seen: dict[int, SeenEvents] = {}
        self._texts = TextOverlay(base)
        self._unfolded: list[TailEvent] = []
        self._tail = Tail(base.rows if base else NO_ROWS)
        self._index: ItemIndex | None = None
        self._rows: Rows | None = None

    def read(self, records: Iterable[Record]) -> list[TailEvent]:
        """Take in records; what is no valid event, or was seen before, is passed over.

        Returns:
            The interactions among them that the base has learned already.
        """
        learned = []
        for record in records:
            try:
                if record.topic == self._items:
                    self._list(record)
                elif record.topic == self._interactions:
                    learned += self._act(record, interaction_of(record))
            except InvalidEvent:
                continue  # the learner writes its dead letter
        return learned

    def rebase(self, base: LoadedSnapshot) -> list[TailEvent]:
        """Take another snapshot as base; returns the tail's events that it has learned."""
        events = [*self._tail.events, *self._unfolded]
        self.base = base
        self._unfolded = [event for event in events if not self._learned(event)]
        self._tail = Tail(base.rows)
        self._texts = TextOverlay(base, self._listed, self._texts)
        self._index = self._rows = None
        return [event for event in events if self._learned(event)]

    def encode(self, encoder: TextEncoder, most: int) -> int:
        """Encode some of the texts that the base does not know; returns how many."""
        encoded = self._texts.encode(encoder, most)
        if encoded:
            self._rows = None
        return encoded

    @property
    def pending_texts(self) -> int:
        """How many texts wait to be encoded."""
        return self._texts.waiting

    def view(self) -> View:
        """All that is known as of now."""
        self._fold()
        tail, base = self._tail, self.base
        if self._index is None:
            self._index, self._rows = self._built_index(), None
        index = self._index
        if base and self._rows is None:
            self._rows = self._texts.overlaid(base, index)
        return View(
            base=base,
            index=index,
            items=self._rows,
            covisitation=Covisitation(math.inf, max_partners=0, counts=_pairs(base, tail, index)),
            popularity=Popularity(math.inf, _popularity(base, tail, index)),
            offsets=named(self.positions),
            oldest_unlearned=tail.oldest,
            unlearned=len(tail.events),
            pending_texts=self.pending_texts,
        )

    def _list(self, record: Record) -> None:
        entry = item_of(record)
        if isinstance(entry, str):
            name, listing = entry, None
        else:
            name, listing = entry.item, CatalogueEntry(entry, content_digest(entry.text))
        before = self._listed.get(name)
        self._listed[name] = listing
        self._texts.tell(name, listing)
        if listing is None or not listing.same_as(before):
            self._index = None

    def _act(self, record: Record, event: Interaction) -> list[TailEvent]:
        seen = self._seen.setdefault(record.partition, SeenEvents(DEDUPE_WINDOW))
        if not seen.add(event_digest(event.event_id)):
            metrics.DUPLICATES.labels("serve").inc()
            return []
        act = Act.of(event)
        if record.offset >= self._reached.get(event.user, self._floor.get(record.source, 0)):
            self.ahead[event.user] = (*self._history_of(event.user), act)[-self._histories.length :]
        read = TailEvent(record.source, record.offset, record.append_time, event.user, act)
        if self._learned(read):
            return [read]
        self._unfolded.append(read)
        return []

    def _learned(self, event: TailEvent) -> bool:
        return self.base is not None and event.offset < self.base.offsets.get(event.source, 0)

    def _history_of(self, user: str) -> History:
        ahead = self.ahead.get(user)
        return self._histories.of(user) if ahead is None else ahead

    def _fold(self) -> None:
        known = len(self._tail.extras)
        self._tail.extend(self._unfolded, self._history_of)
        self._unfolded = []
        if len(self._tail.extras) > known:
            self._index = None

    def _built_index(self) -> ItemIndex:
        base = self.base
        digests, rows = (base.digests, base.rows) if base else (NOTHING, NO_ROWS)
        return build_index(digests, rows, self._listed, self._tail.extras)


def _pairs(base: LoadedSnapshot | None, tail: Tail, index: ItemIndex) -> PairCounts:
    size = len(index)
    pairs = grown(base.pairs, size) if base else sp.csr_array((size, size))
    recent, totals = tail.pairs(index.extras, size), tail.totals(index.extras, size)
    return PairCounts(pairs, recent, _padded(base.totals if base else np.zeros(0), size) + totals)


def _popularity(base: LoadedSnapshot | None, tail: Tail, index: ItemIndex) -> NDArray[np.float64]:
    counts = base.popularity if base else np.zeros(0)
    return _padded(counts, len(index)) + tail.acts(index.extras, len(index))


def _padded(counts: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.concatenate([counts, np.zeros(size - counts.size)])
