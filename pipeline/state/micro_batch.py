"""The MicroBatch: the unit of work of the learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.events import Interaction, Item


@dataclass(frozen=True)
class MicroBatch:
    """Events in the order (append time, partition, offset), to be learned or only folded.

    Attributes:
        generation, step: numbers of adoptions and batches; they seed the randomness.
        items: upserts and the ids of removed items; applied before the interactions.
        interactions: validated and without duplicates.
        learns: False to fold the events without learning them.
    """

    generation: int
    step: int
    items: Sequence[Item | str]
    interactions: Sequence[Interaction]
    learns: bool = True
