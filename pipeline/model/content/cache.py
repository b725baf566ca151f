"""Content vectors on disk, shared by every process on the machine, by digest of adapter and text.

A vector depends on nothing but the backbone, its adapter and the text, so that whoever restarts, or
starts beside, finds the same bits without running the language model again.
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
    """A table of vectors of one width for one backbone. For one thread."""

    def __init__(self, folder: Path, backbone_digest: str, width: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._width = width
        self._database = sqlite3.connect(folder / f"{backbone_digest[:16]}.db", timeout=BUSY_SECONDS)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS vectors (digest TEXT PRIMARY KEY, vector BLOB NOT NULL)"
        )

    def get(self, digests: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors ``[d]`` that are there, by digest."""
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(digests), QUERY_SIZE):
            asked = digests[start : start + QUERY_SIZE]
            marks = ",".join("?" * len(asked))
            rows = self._database.execute(
                f"SELECT digest, vector FROM vectors WHERE digest IN ({marks})", asked
            )
            found.update((digest, np.frombuffer(vector, dtype=np.float32)) for digest, vector in rows)
        return {digest: vector for digest, vector in found.items() if vector.size == self._width}

    def put(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Store vectors ``[d]`` by digest; those that are there already stay as they are."""
        rows = [(digest, vector.astype(np.float32).tobytes()) for digest, vector in vectors.items()]
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
