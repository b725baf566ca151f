"""Histories: the last acts of each user, as immutable values that are replaced.

Copying all histories is therefore a shallow copy of a dict, so a checkpoint can be written in
the background while learning continues. Histories that were written lately are tuples of acts; all
others are packed, in a fifth of the memory and as one object each that garbage collection passes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import Field, TypeAdapter

from pipeline.events import Finite, Id, Interaction, InteractionType, Milliseconds, Offset
from pipeline.state.acted_items import NO_ITEMS, OlderItems, decode_older, encode_older, untyped, with_acts

MOST_ACTS = 40_000
"""In an encoded history; the largest that the settings allow: acts of three signs, and returned purchases."""

RECENT = 1_024
"""Histories that are not packed, at most: the users of some batches. Packing costs some microseconds."""
WANTING = frozenset({InteractionType.CART, InteractionType.PURCHASE, InteractionType.LIKE})
"""Acts that lift a dislike: their user wants the item after all. To see it again is not enough."""
_TYPES = {kind.value: kind for kind in InteractionType}
_ACT = tuple[Id, InteractionType, Milliseconds, Finite | None, Id | None]
_ACTS = TypeAdapter(Annotated[list[_ACT], Field(max_length=MOST_ACTS)])
_OFFSET = TypeAdapter(Offset)
_TEXT = TypeAdapter(str)


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
_NONE_PACKED = b"[]"
"""A packed history without acts."""


def inserted(history: History, act: Act) -> History:
    """Put an act into its place by event time; behind acts of the same time."""
    place = len(history)
    while place and history[place - 1].time > act.time:
        place -= 1
    return (*history[:place], act, *history[place:])


def without(history: History, newest: Sequence[Act]) -> History:
    """Return a history as it was before the acts that were put into it last; some may have left it since."""
    left = list(history)
    for act in reversed(newest):
        index = next((i for i in range(len(left) - 1, -1, -1) if left[i] == act), None)
        if index is not None:
            del left[index]
    return tuple(left)


def joined(history: History, new: Sequence[Act]) -> tuple[History, int]:
    """Join a history with new acts by event time; return how many are not to be predicted, too.

    A new act from before the history's end came late: it belongs to the history, and what followed it is
    known already.
    """
    end = history[-1].time if history else 0
    late = [act for act in new if act.time < end]
    fresh = sorted((act for act in new if act.time >= end), key=attrgetter("time"))
    past = sorted((*history, *late), key=attrgetter("time")) if late else history
    return (*past, *fresh), len(past)


def disliked(acts: Iterable[Act], since: int = 0) -> set[str]:
    """Return the items that a user has disliked since a time in ms, and has not wanted after that.

    Args:
        acts: oldest first.
    """
    items = set()
    for act in acts:
        if act.type is InteractionType.DISLIKE and act.time >= since:
            items.add(act.item)
        elif act.type in WANTING:
            items.discard(act.item)
    return items


def lasting(left: Sequence[Act], acts: History) -> Iterator[tuple[str, InteractionType]]:
    """Yield item and type of acts that leave a history; without dislikes that later acts of it lifted."""
    standing = disliked(acts)
    for act in left:
        if act.type is not InteractionType.DISLIKE or act.item in standing:
            yield act.item, act.type


class Histories:
    """The last acts of each user by event time, oldest first, and the items of those that have left.

    Attributes:
        length: number of acts of each sign that are kept, see `Signals.remembered`.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._packed: dict[str, bytes] = {}  # all users; superseded for those in `_recent`
        self._recent: dict[str, History] = {}
        self._older: dict[str, OlderItems] = {}

    def of(self, user: str) -> History:
        """Return the acts of a user; empty for an unknown user. Other threads may call it meanwhile."""
        recent = self._recent.get(user)
        return _unpacked(self._packed.get(user, _NONE_PACKED)) if recent is None else recent

    def older(self, user: str) -> OlderItems:
        """Return the items of the acts that have left a user's history; empty for most users."""
        return self._older.get(user, NO_ITEMS)

    def fold(self, user: str, act: Act, remembered: Callable[[History], tuple[History, History]]) -> None:
        """Put an act into its place; `remembered` splits the acts into those that are kept and the others."""
        acts = inserted(self.of(user), act)
        kept, left = remembered(acts)
        self._set(user, kept)
        if left:
            self._older[user] = with_acts(self.older(user), lasting(left, acts))

    def put(self, user: str, history: History, older: OlderItems | None = None) -> None:
        """Replace the acts of a user, and the items of the acts before them unless None."""
        self._set(user, history)
        if older is not None and older.size:
            self._older[user] = older

    def forget(self, user: str) -> None:
        """Remove a user."""
        self._recent.pop(user, None)
        self._packed.pop(user, None)
        self._older.pop(user, None)

    def copy(self) -> Histories:
        """Return an independent copy; costs three shallow copies of dicts."""
        copied = Histories(self.length)
        copied._packed, copied._recent = dict(self._packed), dict(self._recent)
        copied._older = dict(self._older)
        return copied

    def users(self) -> KeysView[str]:
        """Return a view of all users."""
        return self._packed.keys()

    def items(self) -> Iterator[tuple[str, History]]:
        """Iterate over users and their acts, which are unpacked one by one."""
        return ((user, self.of(user)) for user in self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def _set(self, user: str, history: History) -> None:
        """Set a user's acts; if too many are recent, pack those that have been so for longest."""
        self._recent[user] = history
        self._packed.setdefault(user, _NONE_PACKED)
        if len(self._recent) > RECENT:
            oldest = next(iter(self._recent))
            self._packed[oldest] = _packed(self._recent[oldest])
            del self._recent[oldest]


def _rows(history: History) -> list[tuple[object, ...]]:
    """Return acts as orjson takes them; it knows no named tuples."""
    return [tuple(act) for act in history]


def _packed(history: History) -> bytes:
    wire = orjson.dumps(_rows(history))
    return bytes(memoryview(wire))  # in its own size: orjson's buffers leave gaps of 4 kB


@lru_cache(RECENT)
def _unpacked(packed: bytes) -> History:
    """Unpack a history; the last ones are remembered, because a batch reads each several times."""
    return tuple(
        Act(item, _TYPES[kind], time, value, session)
        for item, kind, time, value, session in orjson.loads(packed)
    )


def encode_history(history: History, offset: int, older: OlderItems = NO_ITEMS) -> bytes:
    """Encode a user's acts, the offset in their partition up to which they are complete, and older items."""
    extra = {"acted": encode_older(older)} if older.size else {}
    return orjson.dumps({"offset": offset, "acts": _rows(history), **extra})


def decode_history(wire: bytes | str) -> tuple[History, int, OlderItems]:
    """Decode the result of `encode_history`: the acts, the offset and the older items.

    Raises:
        ValueError: it is no history, or out of bounds.
    """
    return history_of(orjson.loads(wire))


def history_of(fields: Any) -> tuple[History, int, OlderItems]:
    """Check the fields of an encoded history, as if a stranger had written them.

    Raises:
        ValueError: they are no history, or out of bounds.
    """
    if not isinstance(fields, dict) or fields.keys() - {"older", "acted"} != {"acts", "offset"}:
        raise ValueError("it has other fields than a history")
    acts = tuple(Act(*act) for act in _ACTS.validate_python(fields["acts"]))
    before_types = untyped(decode_older(_TEXT.validate_python(fields.get("older", ""))))
    older = decode_older(_TEXT.validate_python(fields.get("acted", "")))
    return acts, _OFFSET.validate_python(fields["offset"]), older if older.size else before_types
