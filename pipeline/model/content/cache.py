"""A cache of content vectors on disk, keyed by the digest of adapter and text.

A vector depends only on the backbone, its adapter and the text. Every process on the machine can
therefore share the cache, and a restarted one finds the same bits without running the model again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BUSY_SECONDS = 30
QUERY_SIZE = 500


class ContentCache:
    """A table of vectors of one width for one backbone. Use it from one thread only."""

    def __init__(self, folder: Path, backbone_digest: str, width: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._width = width
        self._database = sqlite3.connect(folder / f"{backbone_digest[:16]}.db", timeout=BUSY_SECONDS)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS vectors (digest TEXT PRIMARY KEY, vector BLOB NOT NULL)"
        )

    def get(self, digests: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the cached vectors ``[d]`` among the given digests."""
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(digests), QUERY_SIZE):
            chunk = digests[start : start + QUERY_SIZE]
            marks = ",".join("?" * len(chunk))
            rows = self._database.execute(
                f"SELECT digest, vector FROM vectors WHERE digest IN ({marks})", chunk
            )
            found.update((digest, np.frombuffer(vector, dtype=np.float32)) for digest, vector in rows)
        # A vector of another width is unusable: treat it as missing.
        return {digest: vector for digest, vector in found.items() if vector.size == self._width}

    def put(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Store vectors ``[d]`` by digest; does not replace existing ones."""
        rows = [(digest, vector.astype(np.float32).tobytes()) for digest, vector in vectors.items()]
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
