"""Experience replay: a uniform sample of all Segments ever learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.state.segments import COLUMNS, NO_ACTS, Segment


class ReplayBuffer:
    """A reservoir of at most `capacity` Segments, each ever offered with equal probability (Vitter 1985)."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: list[Segment] = []
        self._offered = 0

    def __len__(self) -> int:
        return len(self._kept)

    def offer(self, segments: Iterable[Segment], random: np.random.Generator) -> None:
        """Offer Segments, to keep copies; once the buffer is full, one replaces a random one."""
        for segment in segments:
            self._offered += 1
            if len(self._kept) < self._capacity:
                self._kept.append(segment.copied())
                continue
            index = int(random.integers(self._offered))
            if index < self._capacity:
                self._kept[index] = segment.copied()

    def take_back(self, returned: Sequence[tuple[int, int]]) -> None:
        """Remove returned purchases: the last of the item in each of the user's Segments.

        Args:
            returned: digests of users, and the catalogue rows that they returned.
        """
        users = {user for user, _ in returned}
        for index, segment in enumerate(self._kept):
            if segment.user in users:
                items = (item for user, item in returned if user == segment.user)
                self._kept[index] = reduce(Segment.without_last_purchase, items, segment)

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
        return {
            "lengths": np.array([len(segment) for segment in self._kept], dtype=np.int64),
            "first_new": np.array([segment.first_new for segment in self._kept], dtype=np.int64),
            "users": np.array([segment.user for segment in self._kept], dtype=np.int64),
            "offered": np.array([self._offered], dtype=np.int64),
            **{c: np.concatenate([getattr(s, c) for s in (NO_ACTS, *self._kept)]) for c in COLUMNS},
        }

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state returned by `state`."""
        cuts = np.cumsum(state["lengths"])[:-1]
        parts = zip(*(np.split(state[column], cuts) for column in COLUMNS), strict=True)
        owners = zip(state["first_new"].tolist(), state["users"].tolist(), strict=True)
        self._kept = [
            Segment(**dict(zip(COLUMNS, part, strict=True)), first_new=first, user=user)
            for part, (first, user) in zip(parts, owners, strict=False)
        ]
        self._offered = int(state["offered"][0])
