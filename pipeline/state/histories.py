"""Histories: the last acts of each user, as values that are replaced and never changed.

Copying all histories is therefore one shallow copy of a dict: a checkpoint can be written
in the background while learning goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import orjson

from pipeline.events import Interaction, InteractionType


class Act(NamedTuple):
    """What is kept of an Interaction: `value` None where it measured nothing, `time` in ms."""

    item: str
    type: InteractionType
    time: int
    value: float | None = None
    session: str | None = None

    @classmethod
    def of(cls, event: Interaction) -> Act:
        """The act that an event reports."""
        return cls(event.item, event.type, event.time, event.value, event.session)

    def coming(self, session: str | None = None) -> Act:
        """One that follows this; what it will be plays no part, only which basket it falls in.

        Without a session it goes on with this act's.
        """
        return Act(self.item, InteractionType.VIEW, self.time, session=session or self.session)


History = tuple[Act, ...]


class Histories:
    """The last `length` acts of each user, oldest first."""

    def __init__(self, length: int, users: Mapping[str, History] | None = None) -> None:
        self.length = length
        self._users: dict[str, History] = dict(users or {})

    def of(self, user: str) -> History:
        """A user's acts; empty for one nobody knows."""
        return self._users.get(user, ())

    def fold(self, user: str, act: Act) -> None:
        """Append one act."""
        self._users[user] = (*self.of(user), act)[-self.length :]

    def put(self, user: str, history: History) -> None:
        """Replace a user's acts."""
        self._users[user] = history[-self.length :]

    def forget(self, user: str) -> None:
        """Drop a user."""
        self._users.pop(user, None)

    def copy(self) -> Histories:
        """A frozen copy, cheap."""
        return Histories(self.length, self._users)

    def items(self) -> Iterator[tuple[str, History]]:
        """Every user with their acts."""
        return iter(self._users.items())

    def __len__(self) -> int:
        return len(self._users)


def encode_history(history: History, offset: int) -> bytes:
    """The wire form of a user's acts and the offset (of their partition) that they reach."""
    acts = [[act.item, act.type, act.time, act.value, act.session] for act in history]
    return orjson.dumps({"offset": offset, "acts": acts})


def decode_history(wire: bytes) -> tuple[History, int]:
    """A user's acts and the offset that they reach, as `encode_history` wrote them."""
    fields = orjson.loads(wire)
    acts = (Act(item, InteractionType(kind), *rest) for item, kind, *rest in fields["acts"])
    return tuple(acts), int(fields["offset"])
