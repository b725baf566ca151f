"""The stream state: a fold of the log that needs no model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.config import StreamConfig
from pipeline.events import Interaction, Item
from pipeline.state.catalogue import Catalogue
from pipeline.state.covisitation import Covisitation
from pipeline.state.dedupe import SeenEvents
from pipeline.state.histories import Act, Histories
from pipeline.state.popularity import Popularity
from pipeline.state.segments import Segment, segment_of


@dataclass
class StreamState:
    """Catalogue, histories, covisitation, popularity, and the digests of seen events.

    Attributes:
        acts: ``[n]`` number of acts on each item since the beginning, without decay.
        seen: recent event digests, by partition.
        events: number of interactions folded since the beginning.
    """

    config: StreamConfig
    catalogue: Catalogue = field(default_factory=Catalogue)
    acts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    seen: dict[int, SeenEvents] = field(default_factory=dict)
    events: int = 0

    def __post_init__(self) -> None:
        self.histories = Histories(self.config.history_length)
        self.covisitation = Covisitation(
            self.config.covisitation_half_life, self.config.covisitation_partners
        )
        self.popularity = Popularity(self.config.popularity_half_life)

    def ingest(self, entries: Iterable[Item | str]) -> list[int]:
        """Upsert Items, remove the items given by id, and return the rows upserted."""
        rows = []
        for entry in entries:
            if isinstance(entry, Item):
                rows.append(self.catalogue.upsert(entry))
            else:
                self.catalogue.remove(entry)
        self.grow()
        return rows

    def grow(self) -> None:
        """Extend every per-item array to the size of the catalogue."""
        size = len(self.catalogue)
        if size > self.acts.size:
            self.acts = np.concatenate([self.acts, np.zeros(size - self.acts.size, dtype=np.int64)])
            self.covisitation.grow(size)
            self.popularity.grow(size)

    def first_seen(self, partition: int, digest: int) -> bool:
        """Record an event digest of a partition; return False if it is a duplicate."""
        if partition not in self.seen:
            self.seen[partition] = SeenEvents(self.config.dedupe_window)
        return self.seen[partition].add(digest)

    def segment(self, user: str, new: Iterable[Act]) -> Segment:
        """Build one Segment from a user's history and new acts."""
        history = self.histories.of(user)
        return segment_of((*history, *new), len(history), self.catalogue.row)

    def fold(self, events: Iterable[Interaction], segments: Iterable[Segment]) -> None:
        """Fold events into the state; `events` are in order, `segments` are the same events by user."""
        rows = []
        for event in events:
            self.histories.fold(event.user, Act.of(event))
            rows.append(self.catalogue.row(event.item))
        self.covisitation.fold(
            (segment.items[:target], int(segment.items[target]))
            for segment in segments
            for target in segment.targets
        )
        items = np.array(rows, dtype=np.int64)
        self.acts = self.acts + np.bincount(items, minlength=self.acts.size)
        self.popularity.fold(items)
        self.covisitation.age(items.size)
        self.popularity.age(items.size)
        self.events += items.size
