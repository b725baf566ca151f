"""Experience replay: a uniform sample of all Segments ever learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.state.segments import Segment

COLUMNS = ("items", "types", "values", "gaps", "baskets")


class ReplayBuffer:
    """A reservoir of at most `capacity` Segments, each ever offered with equal probability (Vitter 1985)."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: list[Segment] = []
        self._offered = 0

    def __len__(self) -> int:
        return len(self._kept)

    def offer(self, segments: Iterable[Segment], random: np.random.Generator) -> None:
        """Offer Segments; once the buffer is full, an accepted one replaces a random one."""
        for segment in segments:
            self._offered += 1
            if len(self._kept) < self._capacity:
                self._kept.append(segment)
                continue
            index = int(random.integers(self._offered))
            if index < self._capacity:
                self._kept[index] = segment

    def draw(self, amount: int, random: np.random.Generator) -> list[Segment]:
        """Draw `amount` different Segments, or all if there are fewer."""
        indices = random.choice(len(self._kept), size=min(amount, len(self._kept)), replace=False)
        return [self._kept[index] for index in indices]

    def copy(self) -> ReplayBuffer:
        """Return an independent copy; cheap, because Segments are immutable and shared."""
        copied = ReplayBuffer(self._capacity)
        copied._kept, copied._offered = list(self._kept), self._offered
        return copied

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the whole state as plain arrays."""
        empty = np.zeros(0, dtype=np.int64)
        return {
            "lengths": np.array([len(segment) for segment in self._kept], dtype=np.int64),
            "first_new": np.array([segment.first_new for segment in self._kept], dtype=np.int64),
            "offered": np.array([self._offered], dtype=np.int64),
            **{c: np.concatenate([empty, *(getattr(s, c) for s in self._kept)]) for c in COLUMNS},
        }

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state returned by `state`."""
        cuts = np.cumsum(state["lengths"])[:-1]
        parts = zip(*(np.split(state[column], cuts) for column in COLUMNS), strict=True)
        firsts = state["first_new"].tolist()
        self._kept = [
            Segment(**dict(zip(COLUMNS, part, strict=True)), first_new=first)
            for part, first in zip(parts, firsts, strict=False)
        ]
        self._offered = int(state["offered"][0])
