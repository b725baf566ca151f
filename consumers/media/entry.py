"""An item as others described it, and as the log has it with our vectors: what differs is to be published.

The topic of items is compacted, so the last record of an item must be the whole item: a change with nothing
but a vector would, in the long run, be all that is left. But a whole item that was made of an older one would
undo a newer record that came in between. Therefore our own records are recognised when they are read back,
and count for their vectors alone: if one has replaced a newer record, the item of that is published again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from pipeline.errors import InvalidEvent
from pipeline.events import CatalogueRecord, Item, ItemChange, encode, validate

Fields = dict[str, Any]
Numbers = list[float]


class ItemEntry(NamedTuple):
    """What is known of an item.

    Attributes:
        fields: of its records by others, without vectors; has no title if the whole item was never read.
        own: vectors that others gave it.
        published: vectors that it has in the log.
        is_replaced: whether a record of ours has taken the place of a newer one.
    """

    fields: Fields
    own: dict[str, Numbers]
    published: dict[str, Numbers]
    is_replaced: bool = False

    @property
    def is_removed(self) -> bool:
        """Whether it was removed, or is as good as that: it has no title, and is not on sale."""
        return self.fields.get("title") == "" and not self.fields.get("available", True)

    @property
    def is_never_on_sale(self) -> bool:
        """Whether changes, each valid, have left it no time of sale: the log takes no whole item of that."""
        published, expires = self.fields.get("published"), self.fields.get("expires")
        return published is not None and expires is not None and expires <= published

    @property
    def media(self) -> Mapping[str, str]:
        """URLs by name; none of a removed item."""
        return {} if self.is_removed else self.fields.get("media", {})

    def record(self, vectors: Mapping[str, Numbers]) -> bytes | None:
        """Return the value of the record that says all of the item; None removes it.

        Raises:
            InvalidEvent: with its vectors it is out of bounds.
        """
        if self.is_removed:
            return None
        fields = {**self.fields, "vectors": vectors}  # none, too: a change must say so
        return encode(validate(Item, fields) if "title" in fields else validate(ItemChange, fields))


def after(before: ItemEntry | None, record: CatalogueRecord) -> ItemEntry:
    """Return an item after a record of somebody else."""
    if isinstance(record, str):
        return ItemEntry({"item": record, "title": "", "available": False}, {}, {})
    named = _named_fields(record)
    vectors = named.pop("vectors", None)
    if isinstance(record, Item):
        return ItemEntry(named, vectors or {}, vectors or {})
    known = before or ItemEntry({"item": record.item}, {}, {})
    given = {} if vectors is None else {"own": vectors, "published": vectors}
    return known._replace(fields={**known.fields, **named}, **given)


def after_ours(before: ItemEntry, value: bytes | None) -> ItemEntry:
    """Return an item after a record of ours, which says nothing but what it has in the log."""
    published = orjson.loads(value).get("vectors", {}) if value is not None else {}
    return before._replace(published=published, is_replaced=not _says(before, value, published))


def _says(entry: ItemEntry, value: bytes | None, vectors: Mapping[str, Numbers]) -> bool:
    """Whether a record says of an item what others said of it, beside some vectors."""
    try:
        return entry.record(vectors) == value
    except InvalidEvent:
        return False  # what others said since is too large with the vectors


def _named_fields(record: Item | ItemChange) -> Fields:
    """The fields that a record says; those of a whole item that are left out have their defaults."""
    is_change = isinstance(record, ItemChange)
    fields = record.model_dump(mode="json", exclude_defaults=not is_change, exclude_unset=is_change)
    return {**fields, "item": record.item}
