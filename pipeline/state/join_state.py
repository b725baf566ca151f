"""What a join of outcomes remembers: values that are replaced, so that a checkpoint copies a list of them.

What was shown is kept as bytes, in a fifth of the memory and as one object that garbage collection passes
over.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.events import Impression, Interaction

NOT_KEPT: dict[str, Any] = {"offsets": {}, "context": {}}
"""Fields of an impression that its outcome does not need: half of its bytes."""


class Leftover(StrEnum):
    """What was not joined, and why."""

    UNKNOWN = "unknown"
    """An act names an impression that is not known, and did not come while the act waited."""
    LATE = "late"
    """An act names an impression whose window has passed."""
    NOT_SHOWN = "not_shown"
    """An act names an impression that did not show the item, or not to this user."""
    DUPLICATE = "duplicate"
    """An act or an impression that is there already."""
    FLOOD = "flood"
    """An act on an impression with too many of them, or an impression closed early for its user's others."""
    CROWDED_OUT = "crowded_out"
    """An impression that was closed early, because too many were open."""
    INVALID = "invalid"
    """A record that is no valid event."""


class ShownImpression(NamedTuple):
    """An impression, and what has come of it until now, or until its window had passed.

    Attributes:
        kept: what an outcome needs of the impression, as JSON.
        shown_at: ms by the log's clock.
        rewards: of each item.
        acts: digests of the acts that were put down to it.
    """

    kept: bytes
    shown_at: int
    rewards: tuple[float, ...]
    acts: frozenset[int] = frozenset()

    @classmethod
    def of(cls, impression: Impression, shown_at: int) -> Self:
        """Open an impression."""
        return cls(kept_of(impression), shown_at, _nothing(len(impression.items)))

    @property
    def impression(self) -> Impression:
        """The impression, without the fields that are not kept; costs 20 µs."""
        return Impression.model_validate_json(self.kept)

    def place_of(self, item: str) -> int | None:
        """Return the place of an item, None if it was not shown; that costs next to nothing."""
        if orjson.dumps(item) not in self.kept:
            return None
        items = self.fields["items"]
        return items.index(item) if item in items else None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the impression as JSON has them; costs a tenth of `impression`."""
        fields: dict[str, Any] = orjson.loads(self.kept)
        return fields


class WaitingActs(NamedTuple):
    """Acts on an impression that has not come, the first of them appended at a time in ms."""

    since: int
    acts: tuple[Interaction, ...] = ()


class JoinState(NamedTuple):
    """The state of a join, of which nothing is changed in place.

    Attributes:
        clock: ms.
        open: in the order in which they were shown.
        waiting: by the impression that is waited for, the oldest first.
        closed: digests of the ids of impressions that were closed, oldest first.
        leftovers: how many were not joined since the beginning, by reason.
    """

    clock: int
    open: tuple[ShownImpression, ...]
    waiting: dict[str, WaitingActs]
    closed: NDArray[np.int64]
    leftovers: dict[Leftover, int]


def kept_of(impression: Impression) -> bytes:
    """Encode what an outcome needs of an impression; equal impressions give equal bytes."""
    return bytes(memoryview(orjson.dumps({**vars(impression), **NOT_KEPT}, default=vars)))  # in its own size


@lru_cache(maxsize=1_000)
def _nothing(items: int) -> tuple[float, ...]:
    """Return rewards before any act: one object for all impressions of a length."""
    return (0.0,) * items
