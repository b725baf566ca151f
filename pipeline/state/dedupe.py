"""Duplicate detection: a window over the digests of the last event ids, each with one of its content."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.events import CONTENT_DIGESTS, Interaction, event_digest, interaction_digest
from pipeline.state.growing import GrowingArray

_CONTENTS = tuple(range(CONTENT_DIGESTS))
"""One object for each content digest, so that remembering one costs 8 bytes instead of 36."""


class Sighting(Enum):
    """What an event id is to the window."""

    NEW = "new"
    DUPLICATE = "duplicate"
    COLLISION = "collision"
    """The id is known with other content."""


class SeenEvents:
    """The last `window` distinct events of one partition.

    Two events with the same id and other content are taken for the same one in 1 of 65,536 cases. Their order
    is kept in arrays, so that a checkpoint copies 10 MB of a million events and does not convert them.
    """

    def __init__(self, window: int, digests: Sequence[int] = (), contents: Sequence[int] = ()) -> None:
        """Begin with events in order; `digests` and `contents` have the same length."""
        self._window = window
        self._known: dict[int, int] = {}
        self._digests = GrowingArray[np.int64](np.int64)
        self._contents = GrowingArray[np.uint16](np.uint16)
        self._oldest = 0
        for digest, content in zip(digests, contents, strict=True):
            self._remember(digest, content)

    def is_first(self, event: Interaction) -> bool:
        """Remember an event; return False if it is a duplicate.

        Raises:
            InvalidEvent: another event has the same id.
        """
        sighting = self.add(event_digest(event.event_id), interaction_digest(event))
        if sighting is Sighting.COLLISION:
            reason = "is that of an earlier event with other content: give each event an id of its own"
            raise InvalidEvent("event_id", reason, RefusalReason.COLLISION)
        return sighting is Sighting.NEW

    def sighting(self, event: Interaction) -> Sighting:
        """Say what an event is, without remembering it."""
        return self._sighting(event_digest(event.event_id), interaction_digest(event))

    def add(self, digest: int, content: int) -> Sighting:
        """Add the digests of an event unless the window has its id already; say what it is."""
        sighting = self._sighting(digest, content)
        if sighting is not Sighting.NEW:
            return sighting
        self._remember(digest, content)
        return Sighting.NEW

    def holds(self, digest: int) -> bool:
        """Whether the window has the digest of an event id."""
        return digest in self._known

    def to_array(self) -> NDArray[np.int64]:
        """Return copies of all digests and contents ``[2, n]``, oldest first."""
        columns = self._digests.values, self._contents.values
        return np.array([np.roll(column, -self._oldest) for column in columns], dtype=np.int64)

    def _remember(self, digest: int, content: int) -> None:
        """Put a new event into the place of the oldest one, once the window is full."""
        slot = self._digests.size
        if slot == self._window:
            slot, self._oldest = self._oldest, (self._oldest + 1) % self._window
            del self._known[int(self._digests.values[slot])]
        else:
            for column in (self._digests, self._contents):
                column.grow(slot + 1)
        self._known[digest] = _CONTENTS[content]
        self._digests.values[slot], self._contents.values[slot] = digest, content

    def _sighting(self, digest: int, content: int) -> Sighting:
        known = self._known.get(digest)
        if known is None:
            return Sighting.NEW
        return Sighting.DUPLICATE if known == content else Sighting.COLLISION
