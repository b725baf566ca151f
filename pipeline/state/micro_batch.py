"""The MicroBatch: the unit of work of the learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.events import CatalogueRecord, Impression, Interaction, UserRecord


@dataclass(frozen=True)
class MicroBatch:
    """Events in the order (append time, partition, offset), to be learned or only folded.

    Attributes:
        generation, step: numbers of adoptions and batches; they seed the randomness.
        items: upserts, changes and the ids of removed items; applied before the interactions.
        interactions: validated and without duplicates.
        learns: False to fold the events without learning them.
        times: when each interaction was appended, in ms by the log's clock, ascending; empty where nothing
            was shown whose outcomes are of interest.
        impressions: what was shown, each with the time at which it was appended; ascending.
        users: what was sent of users, and the ids of removed ones; applied before the interactions.
        rehearses: whether it is a rehearsal: no events, and one step on replayed Segments.
    """

    generation: int
    step: int
    items: Sequence[CatalogueRecord]
    interactions: Sequence[Interaction]
    learns: bool = True
    times: Sequence[int] = ()
    impressions: Sequence[tuple[int, Impression]] = ()
    users: Sequence[UserRecord] = ()
    rehearses: bool = False
