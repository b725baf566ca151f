"""The stream state: a fold of the log that needs no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.config import RewardsConfig, SignalsConfig, StreamConfig
from pipeline.events import CatalogueRecord, Interaction, event_digest
from pipeline.state.catalogue import Catalogue
from pipeline.state.contributions import Contribution, additions, contribution
from pipeline.state.covisitation import DecayedCovisitation
from pipeline.state.dedupe import SeenEvents, Sighting
from pipeline.state.growing import GrowingArray
from pipeline.state.head import Head
from pipeline.state.histories import Act, Histories, History, joined
from pipeline.state.join_state import Leftover, ShownImpression
from pipeline.state.micro_batch import MicroBatch
from pipeline.state.outcomes import OutcomeJoin, join_in_order
from pipeline.state.popularity import DecayedPopularity
from pipeline.state.profiles import Profiles
from pipeline.state.segments import Segment, segments_before_next, segments_of
from pipeline.state.signals import Reading, Signals


@dataclass
class StreamState:
    """Catalogue, histories, covisitation, popularity, and the digests of seen events.

    Attributes:
        seen: recent event digests, by partition.
        events: number of interactions folded since the beginning.
        capped: number of acts of the last fold that a cap has reduced.
        signals: what acts say.
        profiles: what was sent of users.
        head: which items most acts are on, by their number of acts.
        outcomes: joins what was shown with what came of it.
        closed: impressions that the last batch has closed, in the order of their closing.
        left: how many impressions and acts of the last batch were not joined, by reason.
    """

    config: StreamConfig
    catalogue: Catalogue = field(default_factory=Catalogue)
    seen: dict[int, SeenEvents] = field(default_factory=dict)
    events: int = 0
    capped: int = 0
    said: InitVar[SignalsConfig] = SignalsConfig()  # noqa: RUF009 (frozen)
    worth: InitVar[RewardsConfig] = RewardsConfig()  # noqa: RUF009 (frozen)

    def __post_init__(self, said: SignalsConfig, worth: RewardsConfig) -> None:
        self.signals = Signals(said, self.config.history_length)
        self.histories = Histories(self.config.history_length)
        self.profiles = Profiles()
        self.covisitation = DecayedCovisitation(
            self.config.covisitation_half_life, self.config.covisitation_partners
        )
        self.popularity = DecayedPopularity(self.config.popularity_half_life)
        self._acts = GrowingArray[np.int64](np.int64)
        self.head = Head()
        self.outcomes = OutcomeJoin(worth)
        self.closed: list[ShownImpression] = []
        self.left: Counter[Leftover] = Counter()

    @property
    def acts(self) -> NDArray[np.int64]:
        """Number ``[n]`` of acts of positive weight on each item since the beginning, without decay.

        Changed in place by later folds.
        """
        return self._acts.values

    def ingest(self, records: Sequence[CatalogueRecord]) -> list[int]:
        """Upsert and change items, and remove the items given by id.

        Return the rows upserted, and those of the items that name any of the records' as related.
        """
        rows = []
        for record in records:
            if isinstance(record, str):
                self.catalogue.remove(record)
            else:
                rows.append(self.catalogue.upsert(record))
        self.grow()
        touched = (record if isinstance(record, str) else record.item for record in records)
        return [*rows, *self.catalogue.referring(touched)]

    def grow(self) -> None:
        """Extend every per-item array to the size of the catalogue."""
        for array in (self._acts, self.covisitation, self.popularity):
            array.grow(len(self.catalogue))

    def load_counts(self, acts: NDArray[np.int64], events: int) -> None:
        """Replace the numbers of acts ``[n]`` on each item, and of all events."""
        self._acts.load(acts)
        self.head.load(acts)
        self.events = events

    def first_seen(self, partition: int, event: Interaction) -> bool:
        """Remember an event of a partition; return False if it is a duplicate.

        Raises:
            InvalidEvent: another event has the same id.
        """
        if partition not in self.seen:
            self.seen[partition] = SeenEvents(self.config.dedupe_window)
        return self.seen[partition].is_first(event)

    def sighting(self, partition: int, event: Interaction) -> Sighting:
        """Say what an event of a partition is to what was folded; an accepted one is a duplicate now."""
        seen = self.seen.get(partition)
        return seen.sighting(event) if seen else Sighting.NEW

    def segment(self, user: str, new: Sequence[Act]) -> Segment:
        """Build one Segment from a user's history and new acts."""
        return self.segment_after(user, self.histories.of(user), new)

    def segment_after(self, user: str, history: History, new: Sequence[Act]) -> Segment:
        """Build one Segment from what a user's history was, and new acts."""
        return self.segment_of(user, *self.read(history, new))

    def read(self, history: History, new: Sequence[Act]) -> tuple[Reading, int]:
        """Read a history and new acts; return how many of the acts are not new, too."""
        acts, first_new = joined(history, new)
        reading = self.signals.read(acts)
        return reading, reading.until(first_new)

    def segment_of(self, user: str, reading: Reading, first_new: int) -> Segment:
        """Convert what `read` returned of a user to a Segment."""
        (found,) = self.segments_of([user], [reading], [first_new])
        return found

    def segments_of(
        self, users: Sequence[str], readings: Sequence[Reading], first_new: Sequence[int]
    ) -> list[Segment]:
        """Convert what `read` returned of each user to Segments."""
        found = segments_of(readings, first_new, self.signals, self.catalogue.row)
        return [self.introduced(segment, user) for segment, user in zip(found, users, strict=True)]

    def introduced(self, segment: Segment, user: str) -> Segment:
        """Return a Segment with the digest of its user, and the attributes that the model reads."""
        digest = event_digest(user)
        return segment.introduced(self.profiles.of(digest), digest)

    def segment_before_next(self, user: str, session: str | None = None) -> Segment | None:
        """Build a Segment whose last act is a placeholder for the user's next; None without acts to go by.

        Without a `session` it continues the last act's basket.
        """
        return self.before_next(self.signals.read(self.histories.of(user)), user, session)

    def before_next(self, reading: Reading, user: str, session: str | None = None) -> Segment | None:
        """Build what `segment_before_next` does of a reading of the user's acts."""
        if not reading.acts:
            return None
        coming = reading.acts[-1].coming(session)
        (found,) = segments_before_next([reading], [coming], self.signals, self.catalogue.row)
        return self.introduced(found, user)

    def fold(self, events: Sequence[Interaction]) -> None:
        """Fold events, in the order of arrival, into histories and counts."""
        found, wanted = list[Contribution](), list[int]()
        for event in events:
            act, row = Act.of(event), self.catalogue.row(event.item)
            if self.signals.weight(act) > 0:
                wanted.append(row)
            found.append(contribution(self.histories.of(event.user), act, self.signals))
            self.histories.fold(event.user, act, self.signals.remembered)
        self.capped = sum(one.is_capped for one in found)
        self._count(found)
        self._count_acts(np.array(wanted, dtype=np.int64))
        self.events += len(events)

    def _count_acts(self, rows: NDArray[np.int64]) -> None:
        rows, added = np.unique(rows, return_counts=True)
        before = self.acts[rows]
        self.acts[rows] += added
        self.head.move(before, self.acts[rows])

    def join(self, batch: MicroBatch) -> None:
        """Join what the users of a batch were shown, and what they did."""
        acts, before = zip(batch.times, batch.interactions, strict=False), self.outcomes.leftovers.copy()
        self.closed = list(join_in_order(self.outcomes, batch.impressions, acts))
        self.left = self.outcomes.leftovers - before

    def _count(self, found: Sequence[Contribution]) -> None:
        """Add contributions to the counts. Only acts that count age them: a crowd of others cannot."""
        items, weights, pairs = additions(found, self.catalogue.row)
        self.covisitation.fold(*pairs)
        self.popularity.fold(items, weights)
        counted = int((weights > 0).sum())
        self.covisitation.age(counted)
        self.popularity.age(counted)
