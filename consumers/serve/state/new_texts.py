"""Vectors of texts that the snapshot does not have, so that a new item can be recommended at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.serve.state.item_index import CatalogueEntries, CatalogueEntry, ItemIndex
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from pipeline.model.content.adapter import adapter_digest
from pipeline.model.content.text import TextEncoder
from pipeline.model.item_table import Rows

NO_ENTRIES: CatalogueEntries = {}


class _EncodedText(NamedTuple):
    digest: str
    vector: NDArray[np.float32]


class TextOverlay:
    """New and changed texts of the catalogue; empty without a snapshot, which no item is scored without."""

    def __init__(
        self,
        snapshot: LoadedSnapshot | None,
        catalogue: CatalogueEntries = NO_ENTRIES,
        previous: TextOverlay | None = None,
        changed: Iterable[str] = (),
    ) -> None:
        """Compare the catalogue with a snapshot; keep earlier vectors of the same encoder.

        Args:
            changed: items that the snapshot may know otherwise than that of the previous overlay.
        """
        self._snapshot = snapshot
        self._encoder = adapter_digest(snapshot.encoder) if snapshot else ""
        self._pending: dict[str, CatalogueEntry] = {}
        kept = previous is not None and previous._encoder == self._encoder
        self._encoded: dict[str, _EncodedText] = dict(previous._encoded) if previous and kept else {}
        compared = dict.fromkeys((*previous._pending, *previous._encoded, *changed) if previous else changed)
        for item in compared:
            if item in catalogue:
                self.update(item, catalogue[item])

    @property
    def pending(self) -> int:
        """Number of texts not encoded yet; until then their items keep their old content, or have none."""
        return len(self._pending)

    def update(self, item: str, entry: CatalogueEntry | None) -> None:
        """Read the catalogue's entry of an item; None if the item was removed."""
        encoded = self._encoded.pop(item, None)
        self._pending.pop(item, None)
        if entry is None or entry.digest is None or self._snapshot is None:
            return
        if self._snapshot.digests.get(item) == entry.digest:
            return
        if encoded is not None and encoded.digest == entry.digest:
            self._encoded[item] = encoded
        else:
            self._pending[item] = entry

    def encode(self, encoder: TextEncoder, most: int) -> int:
        """Encode at most `most` pending texts, with the snapshot's encoder; return their number."""
        taken = list(self._pending.items())[:most]
        if taken:
            vectors = encoder.encode([entry.item.text for _, entry in taken])
            for (item, entry), vector in zip(taken, vectors, strict=True):
                assert entry.digest is not None, "update keeps no entry without a text"
                self._encoded[item] = _EncodedText(entry.digest, vector)
                del self._pending[item]
        return len(taken)

    def apply(self, snapshot: LoadedSnapshot, index: ItemIndex) -> Rows:
        """Return the rows of all items of the index: the snapshot's, new items, and new texts' vectors."""
        extra = len(index) - len(snapshot.rows)
        if not self._encoded and not extra:
            return snapshot.items
        content, residual, bias = (
            torch.cat([column, column.new_zeros(extra, *column.shape[1:])]) for column in snapshot.items
        )
        if self._encoded:
            vectors = np.stack([encoded.vector for encoded in self._encoded.values()])
            content[torch.from_numpy(index.rows_of(self._encoded))] = torch.from_numpy(vectors)
        return Rows(content, residual, bias)
