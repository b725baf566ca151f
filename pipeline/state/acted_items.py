"""The items of a user's acts that have left the history, as digests: `exclude_seen` leaves them out too.

A history holds the last acts, and a user may have more. Eight bytes an item, and at most
`MOST_ITEMS` of a user: the latest to leave are kept.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.events import event_digest

MOST_ITEMS = 10_000
"""Of one user; 107 kB in a record of the histories topic."""
OlderItems = NDArray[np.int64]
"""Digests ``[n]`` in the order in which the items left, each once; never changed in place."""
NO_ITEMS: OlderItems = np.zeros(0, dtype=np.int64)


@lru_cache(maxsize=200_000)
def item_digest(item: str) -> int:
    """Return the 63-bit digest of an item's id; two items share one with negligible probability."""
    return event_digest(item)


def with_items(older: OlderItems, items: Iterable[str]) -> OlderItems:
    """Return older items with those that have left the history now."""
    for item in items:
        digest = item_digest(item)
        if not (older == digest).any():
            older = np.append(older, np.int64(digest))[-MOST_ITEMS:]
    return older


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
