"""Histories: the last acts of each user, as immutable tuples that are replaced.

Copying all histories is therefore one shallow copy of a dict, so a checkpoint can be written in
the background while learning continues.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import orjson

from pipeline.events import Interaction, InteractionType


class Act(NamedTuple):
    """The part of an Interaction that a history keeps; `time` is in ms, `value` None if not measured."""

    item: str
    type: InteractionType
    time: int
    value: float | None = None
    session: str | None = None

    @classmethod
    def of(cls, event: Interaction) -> Act:
        """Create the act of an event."""
        return cls(event.item, event.type, event.time, event.value, event.session)

    def coming(self, session: str | None = None) -> Act:
        """Create a placeholder for the next act, which only determines the basket of a prediction.

        Its item and type have no effect. Without a `session` it continues this act's basket.
        """
        return Act(self.item, InteractionType.VIEW, self.time, session=session or self.session)


History = tuple[Act, ...]


class Histories:
    """The last `length` acts of each user, oldest first."""

    def __init__(self, length: int, users: Mapping[str, History] | None = None) -> None:
        self.length = length
        self._users: dict[str, History] = dict(users or {})

    def of(self, user: str) -> History:
        """Return the acts of a user; empty for an unknown user."""
        return self._users.get(user, ())

    def fold(self, user: str, act: Act) -> None:
        """Append an act, and drop the oldest beyond `length`."""
        self._users[user] = (*self.of(user), act)[-self.length :]

    def put(self, user: str, history: History) -> None:
        """Replace the acts of a user."""
        self._users[user] = history[-self.length :]

    def forget(self, user: str) -> None:
        """Remove a user."""
        self._users.pop(user, None)

    def copy(self) -> Histories:
        """Return an independent copy; costs one shallow copy of a dict."""
        return Histories(self.length, self._users)

    def items(self) -> Iterator[tuple[str, History]]:
        """Iterate over users and their acts."""
        return iter(self._users.items())

    def __len__(self) -> int:
        return len(self._users)


def encode_history(history: History, offset: int) -> bytes:
    """Encode a user's acts and the offset in their partition up to which they are complete."""
    acts = [[act.item, act.type, act.time, act.value, act.session] for act in history]
    return orjson.dumps({"offset": offset, "acts": acts})


def decode_history(wire: bytes) -> tuple[History, int]:
    """Decode the result of `encode_history`: the acts and the offset."""
    fields = orjson.loads(wire)
    acts = (Act(item, InteractionType(kind), *rest) for item, kind, *rest in fields["acts"])
    return tuple(acts), int(fields["offset"])
