"""The items of a user's acts that have left the history, and the types of those acts.

A history holds the last acts, and a user may have more: `exclude_seen` and dislikes reach back further. Eight
bytes an item, 51 bits of its digest and a bit for each type; at most `MOST_ITEMS` of a user: those that left
for the first time last are kept.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.events import InteractionType, event_digest

MOST_ITEMS = 10_000
"""Of one user; 107 kB in a record of the histories topic."""
OlderItems = NDArray[np.int64]
"""``[n]`` digests and types in the order in which the items left, each item once; never changed in place."""
NO_ITEMS: OlderItems = np.zeros(0, dtype=np.int64)
TYPE_BITS = 12
_TYPES = np.int64((1 << TYPE_BITS) - 1)
_BITS = {kind: np.int64(1 << number) for number, kind in enumerate(InteractionType)}
_UNTYPED = np.int64(sum(bit for kind, bit in _BITS.items() if kind is not InteractionType.DISLIKE))
"""The types of an item from before types were recorded: any but a dislike."""


@lru_cache(maxsize=200_000)
def item_digest(item: str) -> int:
    """Return the 51-bit digest of an item's id; two items share one with negligible probability."""
    return event_digest(item) >> TYPE_BITS


def with_acts(older: OlderItems, acts: Iterable[tuple[str, InteractionType]]) -> OlderItems:
    """Return older items with those of acts that have left the history now."""
    for item, kind in acts:
        digest, bit = np.int64(item_digest(item)), _BITS[kind]
        known = older >> TYPE_BITS == digest
        if known.any():
            older = np.where(known, older | bit, older)
        else:
            older = np.append(older, digest << TYPE_BITS | bit)[-MOST_ITEMS:]
    return older


def digests_of(older: OlderItems, types: Iterable[InteractionType]) -> NDArray[np.int64]:
    """Return the digests of the older items with an act of one of these types."""
    wanted = np.int64(sum(_BITS[kind] for kind in types))
    digests: NDArray[np.int64] = older[older & wanted != 0] >> TYPE_BITS
    return digests


def encode_older(older: OlderItems) -> str:
    """Encode for a record, as base64 of little-endian integers."""
    return base64.b64encode(older.astype("<i8").tobytes()).decode()


def decode_older(text: str) -> OlderItems:
    """Decode the result of `encode_older`.

    Raises:
        ValueError: it is no such text, or holds too many items.
    """
    older = np.frombuffer(base64.b64decode(text, validate=True), dtype="<i8").astype(np.int64)
    if older.size > MOST_ITEMS:
        raise ValueError(f"more than {MOST_ITEMS} older items")
    return older


def untyped(digests: OlderItems) -> OlderItems:
    """Convert 63-bit digests, from before types were recorded."""
    return digests & ~_TYPES | _UNTYPED
