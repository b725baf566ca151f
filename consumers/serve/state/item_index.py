"""The item index: every item that a server knows, in an order that depends on the log alone.

The snapshot's items keep their rows; all other items follow, sorted by id. Two servers that
have read the same records therefore score the same arrays, to the bit. An index is made from the
one before it: that costs what has changed, and the items that the snapshot lacks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from consumers.serve.state.pages import Pages
from pipeline.events import Item
from pipeline.rules.columns import NO_COLUMNS, ColumnChange, Columns, Items
from pipeline.state.acted_items import item_digest
from pipeline.state.catalogue import content_digest
from pipeline.state.growing import distinct
from pipeline.state.sorted_keys import look_up
from pipeline.state.stored_items import StoredItems, read_item, stored_item

ALWAYS = -1, np.iinfo(np.int64).max
"""When an item without times of sale is on sale."""


class Sale(NamedTuple):
    """Whether an item is available, and from when and until when, in ms since the epoch."""

    available: bool
    published: int = ALWAYS[0]
    expires: int = ALWAYS[1]


class CatalogueEntry(NamedTuple):
    """An item of the catalogue, as `stored_item` encodes it, and its content digest.

    The digest is None if the text is unknown, because only a change of the item was read.
    """

    stored: bytes
    digest: str | None

    @property
    def item(self) -> Item:
        """The item."""
        return read_item(self.stored)

    def same_as(self, other: CatalogueEntry | None) -> bool:
        """Whether both show the same item; only the time of the upsert may differ."""
        return other is not None and self.item.model_copy(update={"time": other.item.time}) == other.item


def entry_of(item: Item) -> CatalogueEntry:
    """Return the entry of a whole item."""
    return CatalogueEntry(stored_item(item), content_digest(item.text, item.vectors))


Value = TypeVar("Value")
CatalogueEntries = Mapping[str, CatalogueEntry | None]
"""By item id; None for a removed item."""


class IndexSources(NamedTuple):
    """What an index is made of.

    Attributes:
        ids: of the snapshot's items, by row.
        digests, rows: content digest and row of each item of the snapshot, in the order of rows.
        catalogue: the catalogue as read.
        acted_on: items of interactions; those that the snapshot lacks need a row, too.
    """

    ids: Sequence[str]
    digests: Mapping[str, str]
    rows: Mapping[str, int]
    catalogue: CatalogueEntries
    acted_on: Mapping[str, int]

    def is_extra(self, item: str) -> bool:
        """Whether an item needs a row that the snapshot does not have."""
        return item not in self.rows and (self.catalogue.get(item) is not None or item in self.acted_on)

    def sale_of(self, item: str) -> Sale:
        """Return when an item may be recommended; an item of interactions alone may be.

        An item that has a text in the snapshot and no entry in the catalogue was removed, and
        compaction has removed even its tombstone.
        """
        if item not in self.catalogue:
            return Sale(not self.digests.get(item))
        entry = self.catalogue[item]
        return Sale(False) if entry is None else _sale_of(entry.item)


_NO_ROWS = np.zeros(0, dtype=np.int64)
NOWHERE = -1


class IndexChange(NamedTuple):
    """How an index differs from an earlier one.

    Attributes:
        before: the identity of the earlier one.
        stale: rows, ascending, that are of other items, or changed ones.
        columns: those of the earlier one.
    """

    before: object
    stale: NDArray[np.int64] = _NO_ROWS
    columns: Mapping[str | None, ColumnChange] = NO_COLUMNS


@dataclass(frozen=True)
class ItemIndex:
    """An immutable index of n items by row.

    Attributes:
        ids: item id of each row.
        stored: catalogue item of each row, as `stored_item` encodes it; None where the catalogue has none.
        available: ``[n]`` whether an item may be recommended while it is on sale.
        on_sale: ``[2, n]`` from when and until when, in ms since the epoch; the end is not included.
        digests: ``[n]`` digests of the ids, as older items have them.
        rows: row of each item of the snapshot; it may have later ones, too, which are not of this index.
        size: number of rows of the snapshot.
        extras: row of each other item, by id, ascending.
        named: extras that the catalogue has no entry of, which acts alone have named.
        change: from the index that this one was made from.
        identity: of this index.
    """

    ids: Pages[str]
    stored: Pages[bytes | None]
    available: NDArray[np.bool_]
    on_sale: NDArray[np.int64]
    digests: NDArray[np.int64]
    rows: Mapping[str, int]
    size: int
    extras: Mapping[str, int]
    named: frozenset[str] = frozenset()
    change: IndexChange = IndexChange(None)
    identity: object = field(default_factory=object)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def entries(self) -> StoredItems:
        """The catalogue item of each row, None where the catalogue has none."""
        return StoredItems(self.stored)

    def row(self, item: str) -> int | None:
        """The row of an item, None if the index does not have it."""
        row = self.rows.get(item)
        return row if row is not None and row < self.size else self.extras.get(item)

    def rows_by_item(self, items: Iterable[str]) -> dict[str, int]:
        """The row of each of the given items; items that the index does not have are left out.

        One loop, because a request asks for all items of a history: half the time of `row` for each.
        """
        size, of_snapshot, of_extras = self.size, self.rows.get, self.extras.get
        return {
            item: row
            for item in items
            if (row := of_snapshot(item, size)) < size or (row := of_extras(item, NOWHERE)) != NOWHERE
        }

    def rows_of(self, items: Iterable[str]) -> NDArray[np.int64]:
        """The rows of the given items; items that the index does not have are left out."""
        return np.array([row for item in items if (row := self.row(item)) is not None], dtype=np.int64)

    def rows_with(self, digests: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of items with the given digests of ids; unknown ones are left out."""
        order, ascending = self._by_digest
        at, is_known = look_up(ascending, digests)
        return order[at[is_known]]

    @cached_property
    def _by_digest(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows by their digests, and these, ascending."""
        order = np.argsort(self.digests)
        return order, self.digests[order]

    @cached_property
    def columns(self) -> Columns:
        """The attributes of the items, by name; each computed when first needed."""
        return Columns(self, self.change.columns)

    def stale_since(self, before: Items) -> NDArray[np.int64] | None:
        """Return the rows that differ from those of the index before; None for another one."""
        if before is self:
            return _NO_ROWS
        known = isinstance(before, ItemIndex) and before.identity is self.change.before
        return self.change.stale if known else None

    def available_at(self, time: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """``[m]`` mask of the rows ``[m]`` that may be recommended at a time, in ms since the epoch."""
        published, expires = self.on_sale[:, rows]
        mask: NDArray[np.bool_] = self.available[rows] & (published <= time) & (time < expires)
        return mask


NO_INDEX = ItemIndex(
    ids=Pages(),
    stored=Pages(),
    available=np.zeros(0, dtype=np.bool_),
    on_sale=np.zeros((2, 0), dtype=np.int64),
    digests=_NO_ROWS,
    rows={},
    size=0,
    extras={},
)


def build_index(
    sources: IndexSources,
    before: ItemIndex = NO_INDEX,
    changed: Collection[str] = (),
    is_swapped: bool = True,
) -> ItemIndex:
    """Build the index of all items.

    Args:
        sources: what it is made of.
        before: an index of the same snapshot, or of one whose rows this one's begin with.
        changed: items whose entry, content digest or acts are not those of `before`.
        is_swapped: whether the index before is of another snapshot.

    Returns:
        It; the one before where that shows the same.
    """
    looked_at = {*changed, *before.named} if is_swapped else changed
    if not looked_at and sources.rows is before.rows and len(sources.rows) == before.size:
        return before
    index, new, moved = replace(before, rows=sources.rows), list[str](), _NO_ROWS
    if len(sources.rows) != before.size or any(
        (item in before.extras) != sources.is_extra(item) for item in looked_at
    ):
        index, new = _arranged(sources, before, changed)
        moved = np.arange(before.size, len(index))
    index, filled = _filled(index, sources, {*changed, *new})
    stale = distinct(moved, filled)
    change = IndexChange(before.identity, stale, before.columns.earlier(stale))
    named = frozenset(
        item
        for item in {*changed, *before.named}
        if item in index.extras and sources.catalogue.get(item) is None
    )
    return replace(index, named=named, change=change, identity=object())


def _arranged(
    sources: IndexSources, before: ItemIndex, changed: Collection[str]
) -> tuple[ItemIndex, list[str]]:
    """Give every item its row, and what was known of it; return the items of which nothing was, too."""
    kept, size = before.size, len(sources.rows)
    added, looked_at = sources.ids[kept:], {*changed, *before.named}
    gone = {item for item in looked_at if item in before.extras and not sources.is_extra(item)}
    new = sorted(item for item in looked_at if item not in before.extras and sources.is_extra(item))
    is_left = np.ones(len(before.extras), dtype=np.bool_)
    is_left[np.array([before.extras[item] - kept for item in gone], dtype=np.int64)] = False
    mask = is_left.tobytes()
    left, stored = list(compress(before.extras, mask)), list(compress(before.stored[kept:], mask))
    points = [bisect_left(left, item) for item in new]
    extras = _merged(left, points, new)
    before_rows = [before.extras.get(item, NOWHERE) for item in added]
    extra_rows = np.insert(kept + np.flatnonzero(is_left), points, NOWHERE)
    rows = np.concatenate([np.array(before_rows, dtype=np.int64), extra_rows])
    known = rows != NOWHERE

    def arranged(column: NDArray[Any]) -> NDArray[Any]:
        moved = np.zeros((*column.shape[:-1], rows.size), column.dtype)
        moved[..., known] = column[..., rows[known]]
        return np.concatenate([column[..., :kept], moved], axis=-1)

    learned = [None if row == NOWHERE else before.stored[row] for row in before_rows]
    index = replace(
        before,
        ids=before.ids.cut(kept).extended([*added, *extras]),
        stored=before.stored.cut(kept).extended([*learned, *_merged(stored, points, [None] * len(new))]),
        **_each(before, arranged),
        rows=sources.rows,
        size=size,
        extras=dict(zip(extras, range(size, size + len(extras)), strict=True)),
    )
    items = [*added, *new]
    return index, [item for item in items if item not in before.extras]


def _merged(values: Sequence[Value], points: Sequence[int], new: Sequence[Value]) -> list[Value]:
    """Insert new values at ascending points; costs copies of the spans between them."""
    merged, start = list[Value](), 0
    for place, value in zip(points, new, strict=True):
        merged += values[start:place]
        merged.append(value)
        start = place
    return [*merged, *values[start:]]


def _each(index: ItemIndex, change: Callable[[NDArray[Any]], NDArray[Any]]) -> dict[str, Any]:
    """The fields of an index that are arrays over its items, each changed."""
    return {name: change(getattr(index, name)) for name in ("available", "on_sale", "digests")}


def _filled(
    index: ItemIndex, sources: IndexSources, items: Collection[str]
) -> tuple[ItemIndex, NDArray[np.int64]]:
    """Read what is known of some items now, whose rows are returned, too."""
    rows = {row: item for item in items if (row := index.row(item)) is not None}
    stored = {
        row: entry.stored if (entry := sources.catalogue.get(item)) else None for row, item in rows.items()
    }
    positions = np.array(list(rows), dtype=np.int64)
    sales = np.array([sources.sale_of(item) for item in rows.values()], dtype=np.int64).reshape(-1, 3).T
    values = {
        "available": sales[0].astype(np.bool_),
        "on_sale": sales[1:],
        "digests": np.array([item_digest(item) for item in rows.values()], dtype=np.int64),
    }
    written: dict[str, Any] = {
        name: _written(getattr(index, name), positions, new) for name, new in values.items()
    }
    return replace(index, stored=index.stored.changed(stored), **written), positions


def _written(column: NDArray[Any], rows: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """Return a column with other values of some rows; the same one if nothing is new."""
    if np.array_equal(column[..., rows], values):
        return column
    column = column.copy()
    column[..., rows] = values
    return column


def _sale_of(item: Item) -> Sale:
    """From when and until when an item may be recommended, if it is available."""
    start, end = ALWAYS
    return Sale(
        item.available,
        start if item.published is None else item.published,
        end if item.expires is None else item.expires,
    )
