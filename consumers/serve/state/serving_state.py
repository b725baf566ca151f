"""The state of a server: one snapshot, and a tail of the records read after it.

The follower alone owns the state; requests see a `View` of it, which never changes. Same
offsets, same answer: a View depends on the snapshot, the histories and the records up to its
offsets, and not on how or when those records were polled. (One exception: a user with more
acts than a quarter of a full history that the histories have and the snapshot has not. A late server
no longer sees all acts before them.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from consumers.serve.state.item_index import (
    NO_INDEX,
    CatalogueEntry,
    IndexSources,
    ItemIndex,
    build_index,
    entry_of,
)
from consumers.serve.state.item_rows import NO_ROWS, ItemRows
from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotChanges
from consumers.serve.state.new_texts import TextOverlay
from consumers.serve.state.scans import Scans, scans_of
from consumers.serve.state.steering import Steering
from consumers.serve.state.tail import Tail, TailEvent
from pipeline import metrics, tracing
from pipeline.config import RetrievalConfig, SignalsConfig
from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import interaction_of, item_of
from pipeline.eventlog.port import Offsets, Record, TopicPartition, named
from pipeline.eventlog.refusal_log import RefusalLog
from pipeline.events import Interaction, Item, ItemChange
from pipeline.model.content.text import TextEncoder
from pipeline.retrieval.item_search import ItemSearch
from pipeline.rules.compiled import NO_RULES, CompiledRules
from pipeline.state.acted_items import OlderItems, with_acts
from pipeline.state.catalogue import removed_item, upserted
from pipeline.state.contributions import Contribution, contribution, contributions
from pipeline.state.counts import PairCounts
from pipeline.state.covisitation import Covisitation
from pipeline.state.dedupe import SeenEvents
from pipeline.state.growing import distinct
from pipeline.state.histories import Act, Histories, History, inserted, lasting
from pipeline.state.popularity import DecayedPopularity, Popularity
from pipeline.state.related_items import NO_RELATED_ROWS, RelatedItems, RelatedRows
from pipeline.state.signals import Signals
from pipeline.state.stored_items import stored_item
from pipeline.state.sums import CovisitationSum, PopularitySum

DEDUPE_WINDOW = 5_000
"""Events per partition within which a duplicate is recognised; a late server reads as far back."""
NOTHING: Mapping[str, int] = {}
NO_ITEMS: tuple[Sequence[str], Mapping[str, str], Mapping[str, int]] = (), {}, NOTHING
"""Ids, content digests and rows without a snapshot."""
NO_OFFSETS: Offsets = {}
NO_PAIRS = PairCounts()
NO_ACTS = DecayedPopularity(math.inf)
NO_CHANGES = SnapshotChanges((), NO_ROWS, NO_ROWS)


class HistoryPosition(NamedTuple):
    """Where a stored history ends: the partition of its user's key, and the next offset there."""

    partition: int
    offset: int


@dataclass(frozen=True)
class View:
    """An immutable view of the serving state as of some offsets, over n items.

    Attributes:
        snapshot: None before the first.
        index: the items.
        items: content, residual and bias of the rows; None without a snapshot.
        covisitation, popularity: counts of the snapshot plus those of the tail.
        signals: what acts say; the learner's, if there is a snapshot.
        offsets: ``topic/partition`` to the next offset that was not read.
        oldest_unlearned: append time in ms of the oldest interaction that the snapshot lacks.
        unlearned: number of interactions that the snapshot lacks.
        pending_texts: number of texts not encoded yet.
        rules: the business rules over the items.
        scans: what is scanned for candidates; None while all items are scored.
        related: which items the attributes and relations that the model reads relate.
    """

    snapshot: LoadedSnapshot | None
    index: ItemIndex
    items: ItemRows | None
    covisitation: Covisitation
    popularity: Popularity
    signals: Signals
    offsets: dict[str, int]
    oldest_unlearned: int | None
    unlearned: int
    pending_texts: int
    rules: CompiledRules = NO_RULES
    scans: Scans | None = None
    related: RelatedRows = NO_RELATED_ROWS

    @property
    def with_model(self) -> ModelView | None:
        """This View with the model that scores its items; None without a snapshot."""
        if self.snapshot is None or self.items is None:
            return None
        return ModelView(self, self.snapshot, self.items)

    def staleness(self, now_ms: int) -> float:
        """Seconds since the append of the oldest unlearned interaction, 0 if there is none."""
        if self.oldest_unlearned is None:
            return 0.0
        return max(0, now_ms - self.oldest_unlearned) / 1000


class ModelView(NamedTuple):
    """A View whose items a model scores: that of its snapshot."""

    view: View
    snapshot: LoadedSnapshot
    items: ItemRows


class ServingState:
    """Reads records and replaces its snapshot; for one thread.

    Attributes:
        snapshot: None before the first.
        positions: next offset of each partition read.
        updated_histories: by user, the histories that changed since the caller last took them.
        updated_older: the same for the items of the acts that have left histories.
    """

    def __init__(
        self,
        snapshot: LoadedSnapshot | None,
        histories: Histories,
        ends_of_histories: Mapping[str, HistoryPosition],
        topics: tuple[str, str],
        refusals: RefusalLog | None = None,
        signals: SignalsConfig = SignalsConfig(),  # noqa: B008 (frozen)
        steering: Steering | None = None,
        retrieval: RetrievalConfig = RetrievalConfig(),  # noqa: B008 (frozen)
    ) -> None:
        """Start before any record was read.

        Args:
            snapshot: the snapshot to start from.
            histories: the users' histories; never written here.
            ends_of_histories: where each user's history ends. A user without one
                starts where the snapshot ends, so that a forgotten user stays forgotten.
            topics: names of the topics of interactions and of items.
            refusals: counts the records that are no valid events; None to count none.
            signals: what acts say, as long as no snapshot says so.
            steering: reads rules and users; None to have none.
            retrieval: the candidates of a large catalogue.
        """
        self.snapshot = snapshot
        self.positions: dict[TopicPartition, int] = {}
        self.updated_histories: dict[str, History] = {}
        self.updated_older: dict[str, OlderItems] = {}
        self._histories = histories
        self._ends_of_histories = ends_of_histories
        self._first_snapshot_ends = snapshot.offsets if snapshot else NO_OFFSETS
        self._interactions, self._items = topics
        self._refusals = refusals
        self._steering = steering
        self._catalogue: dict[str, CatalogueEntry | None] = {}
        self._seen: dict[int, SeenEvents] = {}
        self._texts = TextOverlay(snapshot, self._catalogue)
        self._unfolded: list[TailEvent] = []
        self._covered: dict[str, list[TailEvent]] = {}
        self._signals = Signals(snapshot.manifest.signals if snapshot else signals, histories.length)
        self._tail = Tail(snapshot.rows if snapshot else NOTHING)
        self._index, self._indexed = NO_INDEX, snapshot
        self._related = _relating(snapshot)
        self._related_rows = NO_RELATED_ROWS
        self._changed = set[str]()
        self._rows: ItemRows | None = None
        self._retrieval = retrieval
        self._search: ItemSearch | None = None

    def read(self, records: Iterable[Record]) -> list[TailEvent]:
        """Read records; skip invalid events and duplicates.

        Returns:
            The interactions that the snapshot has already learned.
        """
        learned = []
        for record in records:
            if self._steering is not None:
                self._steering.read(record)
            try:
                if record.topic == self._items:
                    self._read_item(record)
                elif record.topic == self._interactions:
                    learned += self._read_interaction(record, interaction_of(record))
            except InvalidEvent as error:
                if self._refusals is not None:  # the learner writes its dead letter
                    self._refusals.add(record, error)
        return learned

    def replace_snapshot(self, snapshot: LoadedSnapshot) -> list[TailEvent]:
        """Continue from another snapshot; return the events of the tail that it has learned.

        Its update is applied in place: no request must read an earlier View meanwhile, nor thereafter.
        """
        self._fold()
        events, changes = self._tail.events, snapshot.changes
        self.snapshot = snapshot = snapshot.applied()
        learned = list[TailEvent]()
        for event in events:
            (learned if self._is_learned(event) else self._unfolded).append(event)
        if snapshot.manifest.signals != self._signals.config:
            self._signals = Signals(snapshot.manifest.signals, self._histories.length)
            self._unfolded = _counted_again(self._unfolded, self._history_of, self._signals)
        self._tail = Tail(snapshot.rows)
        self._swap_items(changes.items if changes else None)
        self._rows = None
        if changes is None or self._search is None:
            self._search = None
        else:
            self._search_in(self._search, snapshot, changes)
        return learned

    def encode(self, encoder: TextEncoder, most: int) -> int:
        """Encode at most `most` pending texts; return their number."""
        encoded = self._texts.encode(encoder, most)
        for reason, count in self._texts.take_unread().items():
            metrics.UNREAD_VECTORS.labels("serve", reason).inc(count)
        if encoded:
            self._rows = None
        return encoded

    @property
    def pending_texts(self) -> int:
        """Number of texts not encoded yet."""
        return self._texts.pending

    def view(self) -> View:
        """Return a View of everything read so far."""
        self._fold()
        tail, snapshot = self._tail, self.snapshot
        self._update_index()
        index = self._index
        if snapshot and self._rows is None:
            self._rows = self._texts.apply(snapshot, index)
        popularity = _popularity(snapshot, tail, index)
        return View(
            snapshot=snapshot,
            index=index,
            items=self._rows,
            covisitation=_covisitation(snapshot, tail, index),
            popularity=popularity,
            signals=self._signals,
            offsets=named(self.positions),
            oldest_unlearned=tail.oldest,
            unlearned=len(tail.events),
            pending_texts=self.pending_texts,
            rules=self._steering.compiled(index) if self._steering else NO_RULES,
            scans=self._scans(popularity),
            related=self._related_rows,
        )

    def _scans(self, popularity: Popularity) -> Scans | None:
        """Scan the snapshot once, and each time what is newer: items, texts, and what was acted on."""
        snapshot, items, index = self.snapshot, self._rows, self._index
        if snapshot is None or items is None or len(index) <= self._retrieval.exact_items:
            return None
        if self._search is None:
            self._search = ItemSearch()
            self._search_in(self._search, snapshot, NO_CHANGES)
        acted_on, _ = self._tail.acts(index.extras)
        newer = items.newer.rows if items.newer else NO_ROWS
        fresh = distinct(np.arange(index.size, len(index)), newer, acted_on)
        counts = snapshot.popularity, popularity
        return scans_of(self._retrieval, self._search, items.sparse, counts, fresh)

    @staticmethod
    def _search_in(search: ItemSearch, snapshot: LoadedSnapshot, changes: SnapshotChanges) -> None:
        """Search a snapshot as its learner does; all of it if the learner scores all items."""
        choice = snapshot.choice
        if not choice.rows.size:
            choice = choice._replace(rows=np.arange(len(snapshot.items.bias)))
        search.choose(choice, snapshot.items)
        search.refresh(snapshot.items, snapshot.popularity, changes.learned, changes.content, changes.counted)

    def _read_item(self, record: Record) -> None:
        found = item_of(record)
        name = found if isinstance(found, str) else found.item
        before = self._catalogue.get(name)
        entry = None if isinstance(found, str) else self._upserted(found, before)
        self._catalogue[name] = entry
        self._relate(name)
        self._texts.update(name, entry)
        if entry is None or not entry.same_as(before):
            self._changed.add(name)

    def _upserted(self, record: Item | ItemChange, before: CatalogueEntry | None) -> CatalogueEntry:
        if before is None and record.item in self._catalogue:
            return entry_of(upserted(removed_item(record.item), record))
        item = upserted(before.item if before else None, record)
        if isinstance(record, ItemChange) and (before is None or before.digest is None):
            # Compaction may have removed the whole item; what the snapshot knows of its text stays.
            return CatalogueEntry(stored_item(item), None)
        return entry_of(item)

    def _read_interaction(self, record: Record, event: Interaction) -> list[TailEvent]:
        seen = self._seen.setdefault(record.partition, SeenEvents(DEDUPE_WINDOW))
        if not seen.is_first(event):
            metrics.DUPLICATES.labels("serve").inc()
            return []
        act = Act.of(event)
        read = TailEvent(
            record.source,
            record.offset,
            record.append_time,
            event.user,
            act,
            Contribution(act.item),
            event.event_id if tracing.follows(event.event_id) else None,
        )
        is_learned, before = self._is_learned(read), self._history_of(event.user)
        is_beyond = self._is_beyond_history(record, event.user, act)
        if is_beyond:
            self._keep(event.user, inserted(before, act))
        if not is_learned and not is_beyond:
            self._covered.setdefault(event.user, []).append(read)
        elif not is_learned:
            self._unfolded.append(read._replace(contribution=contribution(before, act, self._signals)))
        return [read] if is_learned else []

    def _is_beyond_history(self, record: Record, user: str, act: Act) -> bool:
        """Whether an act is not yet in its user's history; offsets count within their own partition alone.

        An act in another partition than its key's, from a producer with another partitioner, is looked for.
        """
        end = self._ends_of_histories.get(user)
        if end is None:
            return record.offset >= self._first_snapshot_ends.get(record.source, 0)
        if record.partition == end.partition:
            return record.offset >= end.offset
        return act not in self._history_of(user)

    def _keep(self, user: str, acts: History) -> None:
        """Keep a user's last acts, and the items of those that have left them."""
        self.updated_histories[user], left = self._signals.remembered(acts)
        if left:
            older = self.updated_older.get(user)
            self.updated_older[user] = with_acts(
                self._histories.older(user) if older is None else older, lasting(left, acts)
            )

    def _is_learned(self, event: TailEvent) -> bool:
        return self.snapshot is not None and event.offset < self.snapshot.offsets.get(event.source, 0)

    def _history_of(self, user: str) -> History:
        updated = self.updated_histories.get(user)
        return self._histories.of(user) if updated is None else updated

    def _fold(self) -> None:
        known = len(self._tail.extras)
        covered = [event for events in self._covered.values() for event in events]
        counted = _counted_again(covered, self._histories.of, self._signals)
        self._tail.extend([*counted, *self._unfolded])
        self._unfolded, self._covered = [], {}
        self._changed.update(islice(self._tail.extras, known, None))

    def _swap_items(self, changed: Collection[str] | None) -> None:
        """Go on from the items of another snapshot.

        Args:
            changed: items whose content digest is another one than in the snapshot before; None if its rows
                are others, too.
        """
        if changed is None:
            self._index, changed = NO_INDEX, {*self._catalogue, *self._tail.extras}
        self._changed.update(changed)
        related = _relating(self.snapshot)
        if (related.attributes, related.relations) != (self._related.attributes, self._related.relations):
            self._related = related
            for item in self._catalogue:
                self._relate(item)
        self._texts = TextOverlay(self.snapshot, self._catalogue, self._texts, changed)

    def _relate(self, item: str) -> None:
        """Note what the catalogue says of an item's relations, if the model reads any."""
        if self._related.reads:
            entry = self._catalogue[item]
            self._related.put(item, entry.item if entry else None)

    def _update_index(self) -> None:
        snapshot = self.snapshot
        is_swapped = self._index is NO_INDEX or self._indexed is not snapshot
        if not self._changed and not is_swapped:
            return
        of_snapshot = (snapshot.ids, snapshot.digests, snapshot.rows) if snapshot else NO_ITEMS
        sources = IndexSources(*of_snapshot, self._catalogue, self._tail.extras)
        self._index = build_index(sources, self._index, self._changed, is_swapped)
        self._indexed, self._changed, self._rows = snapshot, set(), None
        self._related_rows = RelatedRows(self._related.frozen(), self._index.ids, self._index.row)


def _relating(snapshot: LoadedSnapshot | None) -> RelatedItems:
    """Return what relates items by what the model of a snapshot reads; nothing without one."""
    if snapshot is None:
        return RelatedItems()
    sizes = snapshot.manifest.sizes
    return RelatedItems(sizes.attributes, sizes.relations)


def _counted_again(
    events: Iterable[TailEvent], history_of: Callable[[str], History], signals: Signals
) -> list[TailEvent]:
    """Work out what events add from their users' histories, which have these events already."""
    by_user: dict[str, list[TailEvent]] = {}
    for event in events:
        by_user.setdefault(event.user, []).append(event)
    return [
        event._replace(contribution=one)
        for user, own in by_user.items()
        for event, one in zip(
            own, contributions([event.act for event in own], history_of(user), signals), strict=True
        )
    ]


def _covisitation(snapshot: LoadedSnapshot | None, tail: Tail, index: ItemIndex) -> Covisitation:
    """Count the tail's pairs on top of the snapshot's."""
    pairs = snapshot.pairs if snapshot else NO_PAIRS
    return CovisitationSum(len(index), pairs, tail.pairs(index.extras))


def _popularity(snapshot: LoadedSnapshot | None, tail: Tail, index: ItemIndex) -> Popularity:
    counts = snapshot.popularity if snapshot else NO_ACTS
    return PopularitySum(len(index), counts, *tail.acts(index.extras))
