"""The catalogue as the console knows it: titles, categories, pictures; followed from the log and searched."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from threading import Event
from typing import NamedTuple

from consumers.console.pictures import Pictures
from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import item_of
from pipeline.eventlog.patience import patiently
from pipeline.eventlog.port import EventLog, Record
from pipeline.eventlog.topics import Topics
from pipeline.events import Item, ItemChange

MOST_RECORDS = 5_000
POLL_SECONDS = 1.0
MOST_FOUND = 20


class CatalogueItem(NamedTuple):
    """An item's title and category, its title as it is searched, and the URL of its picture, if any."""

    item: str
    title: str
    category: str
    folded: str
    picture: str = ""


class CatalogueItems:
    """The items of the catalogue that have a title; followed in a thread, read in others."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._items: dict[str, CatalogueItem] = {}

    def __len__(self) -> int:
        return len(self._items)

    def title(self, item: str) -> str:
        """Return the title of an item, or its id while that is all that is known."""
        known = self._items.get(item)
        return known.title if known else item

    def picture(self, item: str) -> str:
        """Return the URL of an item's picture; empty if it has none that may be shown."""
        known = self._items.get(item)
        return known.picture if known else ""

    def get(self, item: str) -> CatalogueItem | None:
        """Return an item, if it is known."""
        return self._items.get(item)

    def search(self, text: str) -> list[CatalogueItem]:
        """Find items whose titles have all words of a text, or whose id it is; the first ones only."""
        exact = self._items.get(text.strip())
        words = text.casefold().split()
        if not words:
            return []
        longest = max(words, key=len)  # rules out most titles by one comparison of each
        likely = [one for one in list(self._items.values()) if longest in one.folded]
        found = (one for one in likely if all(word in one.folded for word in words))
        return list(dict.fromkeys([*([exact] if exact else []), *islice(found, MOST_FOUND)]))[:MOST_FOUND]

    def read(self, records: Iterable[Record]) -> None:
        """Take in records of the items topic."""
        for record in records:
            try:
                event = item_of(record)
            except InvalidEvent:
                continue
            if isinstance(event, str):
                self._items.pop(event, None)
            elif isinstance(event, Item):
                category, picture = event.category or "", self._pictures.chosen(event.media)
                self._items[event.item] = CatalogueItem(
                    event.item, event.title, category, event.title.casefold(), picture
                )
            elif event.item in self._items:
                self._items[event.item] = self._changed(self._items[event.item], event)

    def _changed(self, before: CatalogueItem, change: ItemChange) -> CatalogueItem:
        """An item after a change; what it does not name stays as it is."""
        named = change.model_fields_set
        category = change.category or "" if "category" in named else before.category
        picture = self._pictures.chosen(change.media) if "media" in named else before.picture
        return before._replace(category=category, picture=picture)

    def follow(self, event_log: EventLog, topics: Topics, stop: Event) -> None:
        """Read the items topic, and what is appended to it, until `stop` is set."""
        patiently(lambda: self._follow(event_log, topics, stop), stop, event_log)

    def _follow(self, event_log: EventLog, topics: Topics, stop: Event) -> None:
        with closing(event_log.reader(event_log.begin_offsets([topics.items]))) as reader:
            while not stop.is_set():
                self.read(reader.poll(MOST_RECORDS, POLL_SECONDS))
