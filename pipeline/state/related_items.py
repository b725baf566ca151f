"""Related items as evidence: those that name each other, and those that share a value, of a bounded number.

Which of the many items of a large group would be chosen says nothing, so a value that more than
`MOST_SHARING` items share relates none of them. What is related depends on the catalogue's entries alone,
not on their order: a learner and a server agree on it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.events import Item, Scalar
from pipeline.state.relations import attributes_of, related_items

MOST_SHARING = 64
"""Items that share a value, or name one item, and are related by that."""
MOST_RELATED = 64
"""Related items of an item; of more, those that it names come first, then those that name it."""


class Group(NamedTuple):
    """What relates items: a value of an attribute; or an item that they name, without an attribute."""

    attribute: str | None
    value: Scalar


class RelatedItems:
    """Which items are related, by their ids; costs what changes."""

    def __init__(self, attributes: Collection[str] = (), relations: Collection[str] = ()) -> None:
        """Relate no items yet; `attributes` share values, `relations` name items."""
        self.attributes, self.relations = attributes, relations
        self._groups_of: dict[str, Sequence[Group]] = {}
        self._members: dict[Group, set[str]] = {}
        self._small: dict[Group, Sequence[str]] = {}

    def __len__(self) -> int:
        """The number of items that may be related to any."""
        return len(self._groups_of)

    @property
    def reads(self) -> bool:
        """Whether it reads anything of items."""
        return bool(self.attributes or self.relations)

    def put(self, item: str, entry: Item | None) -> None:
        """Replace what the catalogue says of an item; None if it says nothing."""
        for group in self._groups_of.pop(item, ()):
            self._members[group].discard(item)
            self._note(group)
        groups = self._read(entry) if entry else ()
        if groups:
            self._groups_of[item] = groups
        for group in groups:
            self._members.setdefault(group, set()).add(item)
            self._note(group)

    def of(self, item: str) -> list[str]:
        """Return the related items of an item, at most `MOST_RELATED`, each once."""
        groups = self._groups_of.get(item, ())
        named = [str(group.value) for group in groups if group.attribute is None]
        sharing = [other for group in groups if group.attribute is not None for other in self._of(group)]
        found = dict.fromkeys([*named, *self._of(Group(None, item)), *sharing])
        found.pop(item, None)
        return [*islice(found, MOST_RELATED)]

    def frozen(self) -> Self:
        """Return a copy to read from, which shares what never changes in place; it is not to be changed."""
        copied = type(self)(self.attributes, self.relations)
        copied._groups_of, copied._small = self._groups_of.copy(), self._small.copy()
        return copied

    def _read(self, entry: Item) -> Sequence[Group]:
        named = [Group(None, other) for other in related_items(entry, self.relations)]
        values = attributes_of(entry, self.attributes).items()
        return [*dict.fromkeys([*named, *(Group(name, value) for name, own in values for value in own)])]

    def _of(self, group: Group) -> Sequence[str]:
        return self._small.get(group, ())

    def _note(self, group: Group) -> None:
        """Note the members of a group, sorted, if they are neither too many nor none."""
        members = self._members[group]
        if not members:
            del self._members[group]
        if 0 < len(members) <= MOST_SHARING:
            self._small[group] = sorted(members)
        else:
            self._small.pop(group, None)


@dataclass(frozen=True)
class RelatedRows:
    """Related items by the rows that they have somewhere.

    Attributes:
        related: by id.
        ids: item id of each row.
        row: row of an id; None if it has none.
    """

    related: RelatedItems
    ids: Sequence[str]
    row: Callable[[str], int | None]

    def __len__(self) -> int:
        """The number of items that may be related to any."""
        return len(self.related)

    def of(self, row: int) -> NDArray[np.int64]:
        """Return the rows of the related items of a row's item."""
        rows = (self.row(item) for item in self.related.of(self.ids[row]))
        return np.array([found for found in rows if found is not None], dtype=np.int64)


NO_RELATED_ROWS = RelatedRows(RelatedItems(), (), lambda item: None)
