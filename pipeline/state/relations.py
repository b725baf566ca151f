"""What items say of each other: attributes that they share, and the items that they name as related."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pipeline.events import CATEGORY, Item, Scalar

NOBODY: Collection[str] = ()


def values_of(item: Item, attribute: str) -> Sequence[Scalar]:
    """Return an item's values of an attribute, or its category; none if it has none."""
    if attribute == CATEGORY:
        return () if item.category is None else (item.category,)
    found = item.attributes.get(attribute, ())
    return (found,) if isinstance(found, str | bool | int | float) else found


def attributes_of(item: Item, attributes: Collection[str]) -> Mapping[str, Sequence[Scalar]]:
    """Return an item's values of some attributes, of those that it has."""
    return {name: found for name in attributes if (found := values_of(item, name))}


def related_items(item: Item, attributes: Collection[str]) -> Sequence[str]:
    """Return the ids that an item names as related in some attributes, each once, and never its own."""
    named = (str(value) for name in attributes for value in values_of(item, name))
    return [other for other in dict.fromkeys(named) if other != item.item]


class References:
    """Who names an item as related."""

    def __init__(self) -> None:
        self._named: dict[str, Sequence[str]] = {}
        self._by: dict[str, set[str]] = {}

    def put(self, item: str, related: Sequence[str]) -> None:
        """Replace what an item names; nothing for one that is gone."""
        for other in self._named.pop(item, ()):
            self._by[other].discard(item)
            if not self._by[other]:
                del self._by[other]
        if related:
            self._named[item] = related
        for other in related:
            self._by.setdefault(other, set()).add(item)

    def to(self, item: str) -> Collection[str]:
        """Return the items that name an item."""
        return self._by.get(item, NOBODY)

    def copy(self) -> References:
        """Return an independent copy."""
        copied = References()
        copied._named = dict(self._named)
        copied._by = {item: set(by) for item, by in self._by.items()}
        return copied
