"""The shelf: every item that a server knows, in an order that depends on nothing but the log.

The snapshot's items keep their rows; those that it does not know follow, sorted by id. Two
servers that have read the same therefore score the same arrays, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.events import Item

NO_CATEGORY = -1


class CatalogueEntry(NamedTuple):
    """What the catalogue says of an item, and the content digest of its text."""

    item: Item
    digest: str

    def same_as(self, other: CatalogueEntry | None) -> bool:
        """Whether they would be shown alike; only the time of the upsert may differ."""
        return other is not None and self.item.model_copy(update={"time": other.item.time}) == other.item


CatalogueEntries = Mapping[str, CatalogueEntry | None]
"""By item id; None for a removed one."""


@dataclass(frozen=True)
class ItemIndex:
    """n items by row; never changed.

    Attributes:
        ids: of each row.
        entries: what the catalogue says of each row, None where it says nothing.
        available: ``[n]`` whether an item may be recommended.
        categories: ``[n]`` numbers by `numbers`, or `NO_CATEGORY`.
        numbers: of each category.
        rows: row of each item that the base knows.
        extras: row of each other item.
    """

    ids: tuple[str, ...]
    entries: tuple[Item | None, ...]
    available: NDArray[np.bool_]
    categories: NDArray[np.int64]
    numbers: dict[str, int]
    rows: Mapping[str, int]
    extras: dict[str, int]

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, item: str) -> int | None:
        """An item's row, None for one that is not here."""
        row = self.rows.get(item)
        return row if row is not None else self.extras.get(item)

    def rows_of(self, items: Iterable[str]) -> NDArray[np.int64]:
        """Rows of those of the items that are here."""
        return np.array([row for item in items if (row := self.row(item)) is not None], dtype=np.int64)

    def in_category(self, category: str) -> NDArray[np.bool_]:
        """``[n]`` which items have the category."""
        number = self.numbers.get(category)
        return self.categories == number if number is not None else np.zeros(len(self), dtype=np.bool_)


def build_index(
    digests: Mapping[str, str], rows: Mapping[str, int], listed: CatalogueEntries, acted: Iterable[str]
) -> ItemIndex:
    """Put all items on a shelf.

    Args:
        digests, rows: content digest and row of each of the base's items, in the order of rows.
        listed: the catalogue as read.
        acted: items that interactions name; others than the base's need a row, too.
    """
    current = (item for item, listing in listed.items() if listing is not None)
    extras = sorted({item for items in (current, acted) for item in items if item not in rows})
    ids = (*rows, *extras)
    entries = tuple(listing.item if (listing := listed.get(item)) else None for item in ids)
    names = [entry.category if entry else None for entry in entries]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(n for n in names if n is not None))}
    return ItemIndex(
        ids=ids,
        entries=entries,
        available=np.array([_available(item, listed, digests) for item in ids], dtype=np.bool_),
        categories=np.array([NO_CATEGORY if n is None else numbers[n] for n in names], dtype=np.int64),
        numbers=numbers,
        rows=rows,
        extras={item: row for row, item in enumerate(extras, start=len(rows))},
    )


def _available(item: str, listed: CatalogueEntries, digests: Mapping[str, str]) -> bool:
    """Whether an item may be recommended; one that only interactions name may be.

    An item that had a text when the base learned it and that the catalogue no longer names
    was removed: the log has forgotten even its tombstone.
    """
    if item in listed:
        listing = listed[item]
        return listing is not None and listing.item.available
    return not digests.get(item)
