"""A cache of content vectors on disk, keyed by the digest of adapter and text.

A vector depends only on the backbone, its adapter and the text. Every process on the machine can
therefore share the cache, and a restarted one finds the same bits without running the model again.
Nothing depends on it: while its disk is full or its file is damaged, texts are encoded again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BUSY_SECONDS = 30
QUERY_SIZE = 500

log = logging.getLogger(__name__)


class ContentCache:
    """A table of vectors of one width for one backbone. Use it from one thread only."""

    def __init__(self, folder: Path, backbone_digest: str, width: int) -> None:
        self._width = width
        file = folder / f"{backbone_digest[:16]}.db"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = _opened(file)
        except (sqlite3.Error, OSError) as error:
            log.warning("%s cannot be opened, so this process caches in memory: %s", file, error)
            self._database = _opened(":memory:")

    def get(self, digests: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the cached vectors ``[d]`` among the given digests; none if the file cannot be read."""
        found: dict[str, NDArray[np.float32]] = {}
        try:
            for start in range(0, len(digests), QUERY_SIZE):
                rows = self._rows(digests[start : start + QUERY_SIZE])
                found.update((digest, np.frombuffer(vector, dtype=np.float32)) for digest, vector in rows)
        except sqlite3.Error as error:
            log.warning("the content cache cannot be read, so texts are encoded again: %s", error)
        # A vector of another width is unusable: treat it as missing.
        return {digest: vector for digest, vector in found.items() if vector.size == self._width}

    def put(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Store vectors ``[d]`` by digest; does not replace existing ones. What cannot be stored is not."""
        rows = [(digest, vector.astype(np.float32).tobytes()) for digest, vector in vectors.items()]
        try:
            with self._database:
                self._database.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            log.warning("the content cache cannot be written, so texts will be encoded again: %s", error)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _rows(self, digests: Sequence[str]) -> list[tuple[str, bytes]]:
        marks = ",".join("?" * len(digests))
        return self._database.execute(
            f"SELECT digest, vector FROM vectors WHERE digest IN ({marks})", digests
        ).fetchall()


def _opened(file: Path | str) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=BUSY_SECONDS)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE IF NOT EXISTS vectors (digest TEXT PRIMARY KEY, vector BLOB NOT NULL)")
    except sqlite3.Error:
        database.close()
        raise
    return database
