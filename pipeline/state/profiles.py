"""Profiles: what was sent of users, such as their country or plan; the newest record of a user counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import orjson

from pipeline.events import Attributes, UserRecord, event_digest

NO_ATTRIBUTES = b""
"""Of a user without a record, or of whom nothing is declared."""
MOST_CACHED = 4_096
"""Distinct profiles whose declared part is remembered: most users share theirs with many others."""


def stored_attributes(attributes: Attributes) -> bytes:
    """Return attributes as they are stored, as JSON, in a third of the memory of a dictionary.

    Equal ones are equal bytes.
    """
    # A copy, because bytes that orjson has made hold 4 KB each (measured), whatever their length.
    return bytes(memoryview(orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)))


def read_attributes(stored: bytes) -> Attributes:
    """Read stored attributes."""
    values: Attributes = orjson.loads(stored) if stored else {}
    return values


@lru_cache(MOST_CACHED)
def declared(stored: bytes, names: tuple[str, ...]) -> bytes:
    """Return the part of stored attributes that has one of the names; `NO_ATTRIBUTES` if nothing has.

    An empty list says nothing.
    """
    every = read_attributes(stored) if names else {}
    own = {name: every[name] for name in names if every.get(name, []) != []}
    return stored_attributes(own) if own else NO_ATTRIBUTES


class Profiles:
    """Attributes by the digest of a user, as they are stored; all of them, declared or not."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        """Store nothing yet; `names` are the attributes that the model reads."""
        self._names = tuple(names)
        self._stored: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._stored)

    def read(self, names: Sequence[str]) -> None:
        """Read other attributes of all users from now on."""
        self._names = tuple(names)

    def of(self, user: int) -> bytes:
        """Return the declared attributes of a user, given by digest."""
        if not self._names:
            return NO_ATTRIBUTES
        return declared(self._stored.get(user, NO_ATTRIBUTES), self._names)

    def ingest(self, records: Sequence[UserRecord]) -> None:
        """Take in users; one that is given by id is removed."""
        for record in records:
            if isinstance(record, str):
                self._stored.pop(event_digest(record), None)
            elif record.attributes:
                self._stored[event_digest(record.user)] = stored_attributes(record.attributes)
            else:
                self._stored.pop(event_digest(record.user), None)

    def stored(self) -> Iterator[bytes]:
        """Yield the attributes of each user, as they are stored."""
        return iter(self._stored.values())

    def copy(self) -> Profiles:
        """Return an independent copy; what it holds never changes."""
        copied = Profiles(self._names)
        copied._stored = dict(self._stored)
        return copied

    def lines(self) -> Iterator[bytes]:
        """Yield each user as a line of JSON, in the order of digests."""
        for user in sorted(self._stored):
            yield b"[%d,%b]\n" % (user, self._stored[user])

    def load(self, users: Mapping[int, Attributes]) -> None:
        """Replace the attributes of all users, given by digest."""
        self._stored = {user: stored_attributes(attributes) for user, attributes in users.items()}
