"""Vectors of texts that the snapshot does not have, so that a new item can be recommended at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from consumers.serve.state.item_index import CatalogueEntries, CatalogueEntry, ItemIndex
from consumers.serve.state.item_rows import ItemRows, Overlay
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from pipeline.model.content.adapter import adapter_digest
from pipeline.model.content.items import ItemEncoder, UnreadVector
from pipeline.model.content.text import TextEncoder

NO_ENTRIES: CatalogueEntries = {}
GROWTH = 2


class _EncodedText(NamedTuple):
    """The digest of a text, and the slot of its vector."""

    digest: str
    slot: int


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
            previous: is taken over, and not to be used any more.
            changed: items that the snapshot may know otherwise than that of the previous overlay. Only these
                are compared, because a feed may leave a hundred thousand texts to be encoded.
        """
        self._snapshot = snapshot
        self._encoder = adapter_digest(snapshot.encoder) if snapshot else ""
        self._items = ItemEncoder(snapshot.manifest.sizes.vectors if snapshot else {})
        self._pending: dict[str, CatalogueEntry] = {}
        kept = previous is not None and (previous._encoder, previous._items.vectors) == (
            self._encoder,
            self._items.vectors,
        )
        self._encoded: dict[str, _EncodedText] = {}
        self._vectors, self._used = torch.zeros(0, 0), 0
        compared: Iterable[str] = changed
        if previous is not None and kept:
            self._items = previous._items
            self._pending, self._encoded = previous._pending, previous._encoded
            self._vectors, self._used = previous._vectors, previous._used
        elif previous is not None:
            compared = dict.fromkeys((*previous._pending, *previous._encoded, *changed))
        for item in compared:
            if item in catalogue:
                self.update(item, catalogue[item])
        self._forget_unused()

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

    def take_unread(self) -> Counter[UnreadVector]:
        """Return how many vectors were left out of what was encoded since this was last taken."""
        return self._items.take_unread()

    def encode(self, encoder: TextEncoder, most: int) -> int:
        """Encode at most `most` pending texts, with the snapshot's encoder; return their number."""
        taken = list(islice(self._pending.items(), most))
        if taken:
            # The encoder rounds to float16, so nothing is lost.
            items = [entry.item for _, entry in taken]
            vectors = torch.from_numpy(self._items.encode(items, encoder)).half()
            slots = self._store(vectors)
            for (item, entry), slot in zip(taken, slots, strict=True):
                assert entry.digest is not None, "update keeps no entry without a text"
                self._encoded[item] = _EncodedText(entry.digest, slot)
                del self._pending[item]
        return len(taken)

    def apply(self, snapshot: LoadedSnapshot, index: ItemIndex) -> ItemRows:
        """Return the rows of all items of the index: the snapshot's, new items, and new texts' vectors."""
        if not self._encoded:
            return ItemRows(snapshot.items, len(index))
        rows = index.rows_of(self._encoded)
        slots = np.array([encoded.slot for encoded in self._encoded.values()], dtype=np.int64)
        order = np.argsort(rows)
        return ItemRows(snapshot.items, len(index), Overlay(rows[order], slots[order], self._vectors))

    def _store(self, vectors: Tensor) -> range:
        """Store vectors ``[k, d]`` in slots of their own: those in use never change, for views share them."""
        first, self._used = self._used, self._used + len(vectors)
        if self._used > len(self._vectors):
            room = vectors.new_zeros(GROWTH * self._used, vectors.shape[1])
            room[:first] = self._vectors[:first].reshape(first, vectors.shape[1])
            self._vectors = room
        self._vectors[first : self._used] = vectors
        return range(first, self._used)

    def _forget_unused(self) -> None:
        """Keep the vectors that are in use alone, once most are not."""
        if self._used > GROWTH * len(self._encoded):
            slots = [encoded.slot for encoded in self._encoded.values()]
            self._vectors, self._used = self._vectors[slots], len(slots)
            self._encoded = {
                item: encoded._replace(slot=slot)
                for slot, (item, encoded) in enumerate(self._encoded.items())
            }
