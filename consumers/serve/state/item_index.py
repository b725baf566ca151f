"""The item index: every item that a server knows, in an order that depends on the log alone.

The snapshot's items keep their rows; all other items follow, sorted by id. Two servers that
have read the same records therefore score the same arrays, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.events import Item
from pipeline.rules.columns import Columns
from pipeline.state.acted_items import item_digest
from pipeline.state.catalogue import content_digest

NO_CATEGORY = -1
ALWAYS = -1, np.iinfo(np.int64).max
"""When an item without times of sale is on sale."""


class CatalogueEntry(NamedTuple):
    """An item of the catalogue, and the content digest of its text.

    The digest is None if the text is unknown, because only a change of the item was read.
    """

    item: Item
    digest: str | None

    def same_as(self, other: CatalogueEntry | None) -> bool:
        """Whether both show the same item; only the time of the upsert may differ."""
        return other is not None and self.item.model_copy(update={"time": other.item.time}) == other.item


def entry_of(item: Item) -> CatalogueEntry:
    """Return the entry of a whole item."""
    return CatalogueEntry(item, content_digest(item.text))


CatalogueEntries = Mapping[str, CatalogueEntry | None]
"""By item id; None for a removed item."""


@dataclass(frozen=True)
class ItemIndex:
    """An immutable index of n items by row.

    Attributes:
        ids: item id of each row.
        entries: catalogue item of each row, None where the catalogue has none.
        available: ``[n]`` whether an item may be recommended while it is on sale.
        on_sale: ``[2, n]`` from when and until when, in ms since the epoch; the end is not included.
        categories: ``[n]`` category numbers, or `NO_CATEGORY`.
        category_numbers: number of each category.
        rows: row of each item of the snapshot.
        extras: row of each other item.
    """

    ids: tuple[str, ...]
    entries: tuple[Item | None, ...]
    available: NDArray[np.bool_]
    on_sale: NDArray[np.int64]
    categories: NDArray[np.int64]
    category_numbers: dict[str, int]
    rows: Mapping[str, int]
    extras: dict[str, int]

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, item: str) -> int | None:
        """The row of an item, None if the index does not have it."""
        row = self.rows.get(item)
        return row if row is not None else self.extras.get(item)

    def rows_of(self, items: Iterable[str]) -> NDArray[np.int64]:
        """The rows of the given items; items that the index does not have are left out."""
        return np.array([row for item in items if (row := self.row(item)) is not None], dtype=np.int64)

    def mask_of(self, items: Iterable[str]) -> NDArray[np.bool_]:
        """``[n]`` mask of the given items."""
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[self.rows_of(items)] = True
        return mask

    @cached_property
    def columns(self) -> Columns:
        """The attributes of the items, by name; each computed when first needed."""
        return Columns(self)

    @cached_property
    def item_digests(self) -> NDArray[np.int64]:
        """``[n]`` digests of the ids, as older items have them; computed when first needed."""
        return np.array([item_digest(item) for item in self.ids], dtype=np.int64)

    def available_at(self, time: int) -> NDArray[np.bool_]:
        """``[n]`` mask of the items that may be recommended at a time, in ms since the epoch."""
        published, expires = self.on_sale
        mask: NDArray[np.bool_] = self.available & (published <= time) & (time < expires)
        return mask

    def in_category(self, category: str) -> NDArray[np.bool_]:
        """``[n]`` mask of the items of a category."""
        number = self.category_numbers.get(category)
        return self.categories == number if number is not None else np.zeros(len(self), dtype=np.bool_)


def build_index(
    digests: Mapping[str, str],
    rows: Mapping[str, int],
    catalogue: CatalogueEntries,
    acted_on: Iterable[str],
) -> ItemIndex:
    """Build the index of all items.

    Args:
        digests, rows: content digest and row of each item of the snapshot, in the order of rows.
        catalogue: the catalogue as read.
        acted_on: items of interactions; those that the snapshot lacks need a row, too.
    """
    current = (item for item, entry in catalogue.items() if entry is not None)
    extras = sorted({item for items in (current, acted_on) for item in items if item not in rows})
    ids = (*rows, *extras)
    entries = tuple(entry.item if (entry := catalogue.get(item)) else None for item in ids)
    names = [item.category if item else None for item in entries]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(n for n in names if n is not None))}
    return ItemIndex(
        ids=ids,
        entries=entries,
        available=np.array([_available(item, catalogue, digests) for item in ids], dtype=np.bool_),
        on_sale=np.array([_on_sale(item) for item in entries], dtype=np.int64).reshape(-1, 2).T,
        categories=np.array([NO_CATEGORY if n is None else numbers[n] for n in names], dtype=np.int64),
        category_numbers=numbers,
        rows=rows,
        extras={item: row for row, item in enumerate(extras, start=len(rows))},
    )


def _on_sale(item: Item | None) -> tuple[int, int]:
    """From when and until when an item may be recommended."""
    start, end = ALWAYS
    if item is None:
        return start, end
    return (
        start if item.published is None else item.published,
        end if item.expires is None else item.expires,
    )


def _available(item: str, catalogue: CatalogueEntries, digests: Mapping[str, str]) -> bool:
    """Whether an item may be recommended; an item of interactions alone may be.

    An item that has a text in the snapshot and no entry in the catalogue was removed, and
    compaction has removed even its tombstone.
    """
    if item in catalogue:
        entry = catalogue[item]
        return entry is not None and entry.item.available
    return not digests.get(item)
