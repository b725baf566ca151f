"""The catalogue: the row of each item, its text, and whether it may be recommended.

Rows are assigned in the order of arrival and never change, so that arrays over items (counts,
residuals) only grow. An item that occurs in an interaction before it is in the catalogue gets a
row without text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import orjson

from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import item_of
from pipeline.eventlog.port import EventLog, read
from pipeline.events import Item, ItemChange, Scalar
from pipeline.state.related_items import RelatedItems, RelatedRows
from pipeline.state.relations import References, attributes_of, related_items
from pipeline.state.stored_items import StoredItems, stored_item

REMOVED = "-"
"""The digest of a removed item; unlike an item without text, it must not be recommended."""
NO_VECTORS: Mapping[str, Sequence[float]] = {}
NO_VALUES: Mapping[str, Sequence[Scalar]] = {}


def upserted(before: Item | None, record: Item | ItemChange) -> Item:
    """Return an item after an upsert, for learner and server alike.

    `before` is None for an item that was never in the catalogue, and `removed_item` for a removed one.

    A whole item replaces the one before; a change keeps what it does not name.
    """
    return record if isinstance(record, Item) else record.applied_to(before)


def removed_item(item: str) -> Item:
    """Return the entry of an item after a tombstone: a later change alone does not make it available."""
    return Item(item=item, title="", available=False)


def content_digest(
    text: str,
    vectors: Mapping[str, Sequence[float]] = NO_VECTORS,
    values: Mapping[str, Sequence[Scalar]] = NO_VALUES,
) -> str:
    """Return the key of what the content of an item is made of: its text, its vectors, values of attributes.

    Empty for an empty text without either.
    """
    beside = [vectors, values] if values else [vectors] if vectors else []
    content = orjson.dumps([text, *beside], option=orjson.OPT_SORT_KEYS) if beside else text.encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest() if content else ""


def digest_of(item: Item, attributes: Collection[str] = ()) -> str:
    """Return the key of an item's content, to which the values of some attributes belong."""
    return content_digest(item.text, item.vectors, attributes_of(item, attributes))


class Catalogue:
    """Items by row.

    Attributes:
        ids: item ids.
        stored: the last upsert of each item, as `stored_item` encodes it; None for an item without one.
        digests: content digest of each item, or REMOVED.
        references: who names an item in the attributes of relations.
        related: which items the attributes and relations relate.
    """

    def __init__(
        self,
        entries: Iterable[tuple[str, Item | None]] = (),
        attributes: Collection[str] = (),
        relations: Collection[str] = (),
    ) -> None:
        """Make a catalogue of entries; see `read` for the attributes."""
        self.references, self.related = References(), RelatedItems(attributes, relations)
        self._attributes, self._relations = attributes, relations
        self.ids: list[str] = []
        self.stored: list[bytes | None] = []
        self.digests: list[str] = []
        self._rows: dict[str, int] = {}
        self._changed = set[int]()
        for item, entry in entries:
            self._set_entry(self.row(item), entry)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item: object) -> bool:
        return item in self._rows

    @property
    def entries(self) -> StoredItems:
        """The last upsert of each item, None for an item without one."""
        return StoredItems(self.stored)

    def row(self, item: str) -> int:
        """Return the row of an item; assigns a new one to an unknown item."""
        known = self._rows.get(item)
        if known is not None:
            return known
        self._rows[item] = len(self.ids)
        self.ids.append(item)
        self.stored.append(None)
        self.digests.append("")
        self._changed.add(self._rows[item])
        return len(self.ids) - 1

    def upsert(self, record: Item | ItemChange) -> int:
        """Apply an upsert or a change and return the item's row."""
        row = self.row(record.item)
        before = self.entries[row] if isinstance(record, ItemChange) else None
        self._set_entry(row, upserted(before, record))
        return row

    def remove(self, item: str) -> None:
        """Apply a tombstone: the row stays, but its entry is cleared and it is not available."""
        if item in self._rows:
            self._set_entry(self._rows[item], removed_item(item))

    def read(self, attributes: Collection[str], relations: Collection[str]) -> None:
        """Count the values of attributes and relations to the content of items.

        Those of relations name related items.
        """
        self._attributes, self._relations = attributes, relations
        self.references, self.related = References(), RelatedItems(attributes, relations)
        for row, entry in enumerate(self.entries):
            self._note(row, entry)

    def referring(self, items: Iterable[str]) -> set[int]:
        """Return the rows of the items that name any of some items."""
        return {self._rows[by] for item in items for by in self.references.to(item)}

    @property
    def related_rows(self) -> RelatedRows:
        """Which items are related, by row; changes with the catalogue."""
        return RelatedRows(self.related, self.ids, self._rows.get)

    def text_of(self, item: str) -> str:
        """Return the text of an item by its id; empty for an unknown one."""
        row = self._rows.get(item)
        return "" if row is None else self.text(row)

    def text(self, row: int) -> str:
        """Return the text that the language model encodes; empty if there is no entry."""
        entry = self.entries[row]
        return entry.text if entry else ""

    def available(self, row: int) -> bool:
        """Return whether an item may be recommended; true for an item that only interactions name."""
        entry = self.entries[row]
        return entry is None or entry.available

    def take_changed(self) -> list[int]:
        """Return the rows that are new or have another digest since they were last taken, ascending."""
        changed, self._changed = sorted(self._changed), set()
        return changed

    def copy(self) -> Catalogue:
        """Return an independent copy: of lists and dicts, because most of what they hold never changes."""
        copied = Catalogue()
        copied.ids, copied.stored, copied.digests = [*self.ids], [*self.stored], [*self.digests]
        copied._rows, copied._changed = dict(self._rows), set(self._changed)
        copied._attributes, copied._relations = self._attributes, self._relations
        copied.references = self.references.copy()
        copied.related = self.related.frozen()
        return copied

    def _set_entry(self, row: int, entry: Item | None) -> None:
        self.stored[row] = None if entry is None else stored_item(entry)
        self._note(row, entry)

    def _note(self, row: int, entry: Item | None) -> None:
        """Note the content digest of an entry, and what it names."""
        if self._relations:
            self.references.put(self.ids[row], related_items(entry, self._relations) if entry else ())
        if self.related.reads:
            self.related.put(self.ids[row], entry)
        content = digest_of(entry, {*self._attributes, *self._relations}) if entry else ""
        digest = REMOVED if entry and not content and not entry.available else content
        if digest != self.digests[row]:
            self._changed.add(row)
        self.digests[row] = digest


def read_catalogue(event_log: EventLog, topic: str) -> Catalogue:
    """Read the catalogue from its topic; records that are refused are passed over.

    Raises:
        LogUnavailable: the log does not answer.
    """
    catalogue = Catalogue()
    for record in read(event_log, topic):
        try:
            item = item_of(record)
        except InvalidEvent:
            continue
        if isinstance(item, str):
            catalogue.remove(item)
        else:
            catalogue.upsert(item)
    return catalogue
