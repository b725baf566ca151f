"""The catalogue: which row each item has, what it says, and whether it may be recommended.

Rows are given in the order of arrival and never change or move, so that arrays over items
(counts, residuals) only ever grow. An item that an interaction names before the catalogue
knows it gets a row without text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pipeline.events import Item

REMOVED = "-"
"""The digest of an item that was removed: unlike one without text, nobody may be shown it."""


def content_digest(text: str) -> str:
    """The digest under which a text's content vector is known; empty for no text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest() if text else ""


class Catalogue:
    """Items by row.

    Attributes:
        ids: the items' ids.
        entries: the last upserts, None for an item without one.
        digests: of their texts.
    """

    def __init__(self, entries: Iterable[tuple[str, Item | None]] = ()) -> None:
        self.ids: list[str] = []
        self.entries: list[Item | None] = []
        self.digests: list[str] = []
        self._rows: dict[str, int] = {}
        for item, entry in entries:
            self._tell(self.row(item), entry)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item: object) -> bool:
        return item in self._rows

    def row(self, item: str) -> int:
        """The item's row; a new one for an item never heard of."""
        known = self._rows.get(item)
        if known is not None:
            return known
        self._rows[item] = len(self.ids)
        self.ids.append(item)
        self.entries.append(None)
        self.digests.append("")
        return len(self.ids) - 1

    def upsert(self, entry: Item) -> int:
        """Take in what is said of an item; returns its row."""
        row = self.row(entry.item)
        self._tell(row, entry)
        return row

    def remove(self, item: str) -> None:
        """A tombstone: the row stays, what was known of it goes, and nobody is shown it."""
        if item in self._rows:
            self._tell(self._rows[item], Item(item=item, title="", available=False))

    def text(self, row: int) -> str:
        """What the language model reads of an item; empty where nothing is known."""
        entry = self.entries[row]
        return entry.text if entry else ""

    def available(self, row: int) -> bool:
        """Whether an item may be recommended; one without an entry is known by its acts only."""
        entry = self.entries[row]
        return entry is None or entry.available

    def copy(self) -> Catalogue:
        """A frozen copy, shallow: entries are immutable."""
        return Catalogue(zip(self.ids, self.entries, strict=True))

    def _tell(self, row: int, entry: Item | None) -> None:
        self.entries[row] = entry
        digest = content_digest(entry.text) if entry else ""
        self.digests[row] = REMOVED if entry and not digest and not entry.available else digest
