"""The MicroBatch: what the learner is given at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.events import Interaction, Item


@dataclass(frozen=True)
class MicroBatch:
    """Events in the order (append time, partition, offset), and what to do with them.

    Attributes:
        generation, step: count adoptions and batches; randomness follows from them.
        items: upserts, and the ids of removed items; they come before the interactions.
        interactions: validated and without duplicates.
        learns: False to fold the events without learning them.
    """

    generation: int
    step: int
    items: Sequence[Item | str]
    interactions: Sequence[Interaction]
    learns: bool = True
