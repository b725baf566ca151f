"""What the daemon knows, in one SQLite file: how far it has read, items, media, and vectors by content.

It follows from the topic of items and from what hosts answer, so the file may be deleted: the topic is read
from its beginning then, and vectors that the items have are taken for their senders' own.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from consumers.media.entry import ItemEntry, Numbers
from pipeline.errors import Occupied, StorageUnavailable
from pipeline.eventlog.port import Offsets, TopicPartition

FILE = "media.db"
TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS items (item TEXT PRIMARY KEY, entry BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS unchecked (item TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (item TEXT, digest TEXT, waiting INTEGER NOT NULL, PRIMARY KEY (item, digest))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS media (item TEXT, name TEXT, url TEXT NOT NULL, content TEXT, reason TEXT,
    attempts INTEGER NOT NULL, due REAL, PRIMARY KEY (item, name));
CREATE INDEX IF NOT EXISTS media_due ON media (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS media_url ON media (url);
CREATE TABLE IF NOT EXISTS vectors (encoder TEXT, content TEXT, vector BLOB NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (encoder, content));
CREATE INDEX IF NOT EXISTS vectors_digest ON vectors (digest);
"""
OF_THE_TOPIC = ("facts", "positions", "items", "unchecked", "sent", "media")
"""Tables that say what one topic said; vectors are true whatever it says."""
UNUSED = "DELETE FROM vectors WHERE content NOT IN (SELECT content FROM media WHERE content NOT NULL)"
"""Deletes the vectors of contents that no item has any more."""


class ItemMedium(NamedTuple):
    """A picture or a sound of an item.

    Attributes:
        content: digest of its bytes, once it has a vector.
        reason: why it has none, and is not tried again.
        attempts: to fetch it that failed.
        due: when to fetch it, in seconds since the epoch; None if that is done.
    """

    item: str
    name: str
    url: str
    content: str | None = None
    reason: str | None = None
    attempts: int = 0
    due: float | None = None


class MediaStore:
    """The file, until it is closed; for one thread, and for one process at a time.

    All methods raise StorageUnavailable while the disk is full or away, or if the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        """Open the file.

        Raises:
            Occupied: another process has it open.
        """
        self._file = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._file, timeout=0, isolation_level=None)
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.executescript(f"BEGIN IMMEDIATE;{TABLES}COMMIT;")  # takes the lock
        except (sqlite3.Error, OSError) as error:
            raise self._failure(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that is done within, or nothing; it is durable afterwards."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.rollback()
            raise

    def begin(self, topic_id: str, encoders: Mapping[str, str], *, again: bool = False) -> None:
        """Begin to read a topic with some encoders: their digests by the names of the media that they encode.

        What another topic said is forgotten, and if `again` what this one did. Media whose encoder is another
        one now are fetched again.
        """
        known = dict(self._rows("SELECT name, value FROM facts"))
        before = orjson.loads(known.get("encoders", "{}"))
        changed = [name for name in before | encoders if before.get(name) != encoders.get(name)]
        with self.transaction():
            if again or known.get("topic") != topic_id:
                self._clear()
            elif changed:
                self._let_go(changed)
            elif not self._rows("SELECT 1 FROM unchecked LIMIT 1"):
                self._run(UNUSED)
            for fact in (("topic", topic_id), ("encoders", orjson.dumps(encoders).decode())):
                self._run("INSERT OR REPLACE INTO facts VALUES (?, ?)", *fact)

    def _clear(self) -> None:
        for name in OF_THE_TOPIC:
            self._run(f"DELETE FROM {name}")

    def _let_go(self, names: Iterable[str]) -> None:
        for name in names:
            self._run("DELETE FROM media WHERE name = ?", name)
        self._run("INSERT OR IGNORE INTO unchecked SELECT item FROM items")

    def positions(self, begins: Offsets) -> dict[TopicPartition, int]:
        """Return where to go on reading; `begins` has the first offset of each partition."""
        known = dict(self._rows("SELECT partition, next FROM positions"))
        return {source: known.get(source.partition, begin) for source, begin in begins.items()}

    def advance(self, positions: Offsets) -> None:
        """Go on at these offsets the next time."""
        for source, at in positions.items():
            self._run("INSERT OR REPLACE INTO positions VALUES (?, ?)", source.partition, at)

    def entry(self, item: str) -> ItemEntry | None:
        """Return what is known of an item."""
        rows = self._rows("SELECT entry FROM items WHERE item = ?", item)
        return ItemEntry(*orjson.loads(rows[0][0])) if rows else None

    def put_entry(self, item: str, entry: ItemEntry) -> None:
        """Replace what is known of an item, which is to be checked then."""
        self._run("INSERT OR REPLACE INTO items VALUES (?, ?)", item, orjson.dumps([*entry]))
        self.uncheck(item)

    def uncheck(self, item: str) -> None:
        """Note that an item is to be checked."""
        self._run("INSERT OR IGNORE INTO unchecked VALUES (?)", item)

    def take_unchecked(self, limit: int) -> list[str]:
        """Return items that were to be checked, and no longer are."""
        items = [item for (item,) in self._rows("SELECT item FROM unchecked LIMIT ?", limit)]
        for item in items:
            self._run("DELETE FROM unchecked WHERE item = ?", item)
        return items

    def put_sent(self, item: str, value: bytes | None) -> None:
        """Note that a record of ours is about to be appended."""
        self._run("INSERT OR REPLACE INTO sent VALUES (?, ?, 1)", item, digest_of(value or b""))

    def is_sent(self, item: str) -> bool:
        """Return whether a record of ours about an item is on its way."""
        return bool(self._rows("SELECT 1 FROM sent WHERE item = ? AND waiting", item))

    def take_sent(self, item: str, value: bytes | None) -> bool:
        """Return whether a record that was read is the one on its way, which it then no longer is."""
        statement = "DELETE FROM sent WHERE item = ? AND digest = ?"
        return self._run(statement, item, digest_of(value or b"")) > 0

    def give_up_sent(self) -> None:
        """Wait no longer for records that the log, read to its end, does not have; their items are checked.

        One that arrives after all is still known as ours.
        """
        with self.transaction():
            self._run("INSERT OR IGNORE INTO unchecked SELECT item FROM sent WHERE waiting")
            self._run("UPDATE sent SET waiting = 0")

    def media(self, item: str) -> dict[str, ItemMedium]:
        """Return the media of an item, by name."""
        rows = self._rows("SELECT * FROM media WHERE item = ?", item)
        return {medium.name: medium for medium in map(ItemMedium._make, rows)}

    def put_medium(self, medium: ItemMedium) -> None:
        """Add or replace a medium."""
        self._run("INSERT OR REPLACE INTO media VALUES (?, ?, ?, ?, ?, ?, ?)", *medium)

    def remove_medium(self, item: str, name: str) -> None:
        """Forget a medium."""
        self._run("DELETE FROM media WHERE item = ? AND name = ?", item, name)

    def due(self, now: float, limit: int) -> list[ItemMedium]:
        """Return media that are to be fetched now, those that wait longest first."""
        statement = "SELECT * FROM media WHERE due <= ? ORDER BY due, item, name LIMIT ?"
        return [ItemMedium._make(row) for row in self._rows(statement, now, limit)]

    def pending(self) -> int:
        """Return how many media wait to be fetched."""
        return int(self._rows("SELECT count(*) FROM media WHERE due IS NOT NULL")[0][0])

    def retry(self, now: float) -> int:
        """Let media that were refused be fetched once more; return how many."""
        statement = "UPDATE media SET reason = NULL, attempts = 0, due = ? WHERE reason IS NOT NULL"
        return self._run(statement, now)

    def content_at(self, name: str, url: str) -> str | None:
        """Return the digest of what a URL named when it was fetched for another item."""
        statement = "SELECT content FROM media WHERE url = ? AND name = ? AND content NOT NULL LIMIT 1"
        rows = self._rows(statement, url, name)
        return str(rows[0][0]) if rows else None

    def vector(self, encoder: str, content: str) -> Numbers | None:
        """Return the vector that an encoder made of a content."""
        statement = "SELECT vector FROM vectors WHERE encoder = ? AND content = ?"
        rows = self._rows(statement, encoder, content)
        return orjson.loads(rows[0][0]) if rows else None

    def put_vector(self, encoder: str, content: str, vector: Sequence[float]) -> None:
        """Keep the vector that an encoder made of a content."""
        packed = orjson.dumps([*vector])
        row = encoder, content, packed, digest_of(packed)
        self._run("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", *row)

    def without_ours(self, vectors: Mapping[str, Numbers]) -> dict[str, Numbers]:
        """Return the vectors that were not made here: a sender may repeat what it has read."""
        return {name: one for name, one in vectors.items() if not self._is_ours(one)}

    def _is_ours(self, vector: Numbers) -> bool:
        digest = digest_of(orjson.dumps(vector))
        return bool(self._rows("SELECT 1 FROM vectors WHERE digest = ? LIMIT 1", digest))

    def _rows(self, statement: str, *values: object) -> list[Any]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _run(self, statement: str, *values: object) -> int:
        """Run a statement; return how many rows it changed."""
        try:
            return self._database.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> Occupied | StorageUnavailable:
        if "locked" in str(error):
            return Occupied(f"another media daemon works in {self._file.parent}: stop it first")
        return StorageUnavailable(
            f"{self._file}: {error}; make room and let this user write it, or delete it if it is damaged"
        )


def digest_of(content: bytes) -> str:
    """Return the address of a content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
