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
from pipeline.config import ModelSizes
from pipeline.model.content.adapter import adapter_digest
from pipeline.model.content.items import ItemEncoder, UnreadVector, content_read
from pipeline.model.content.text import TextEncoder
from pipeline.state.catalogue import digest_of
from pipeline.state.relations import References, related_items

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
            catalogue: by item id; it may change, if each change is followed by an `update`.
            previous: is taken over, and not to be used any more.
            changed: items that the snapshot may know otherwise than that of the previous overlay. Only these
                are compared, because a feed may leave a hundred thousand texts to be encoded.
        """
        self._snapshot = snapshot
        self._encoder = adapter_digest(snapshot.encoder) if snapshot else ""
        self._items = ItemEncoder(snapshot.manifest.sizes if snapshot else ModelSizes())
        self._catalogue, self._references = catalogue, References()
        self._pending: dict[str, CatalogueEntry] = {}
        kept = previous is not None and (previous._encoder, content_read(previous._items.sizes)) == (
            self._encoder,
            content_read(self._items.sizes),
        )
        self._encoded: dict[str, _EncodedText] = {}
        self._vectors, self._used = torch.zeros(0, 0), 0
        compared: Iterable[str] = changed
        if previous is not None and kept:
            self._items, self._references = previous._items, previous._references
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
        """Read the catalogue's entry of an item; None if the item was removed.

        What is newer than the snapshot and names the item as related is encoded again.
        """
        self._compare(item, entry)
        for other in [*self._references.to(item)]:
            newer = self._catalogue[other]
            if self._encoded.pop(other, None) is not None and newer is not None:
                self._pending[other] = newer

    def _compare(self, item: str, entry: CatalogueEntry | None) -> None:
        """Compare an entry with the snapshot."""
        encoded = self._encoded.pop(item, None)
        self._pending.pop(item, None)
        self._references.put(item, ())
        if entry is None or entry.digest is None or self._snapshot is None:
            return
        digest, sizes = self._digest(entry), self._items.sizes
        if self._snapshot.digests.get(item) == digest:
            return
        self._references.put(item, related_items(entry.item, sizes.relations) if sizes.relations else ())
        if encoded is not None and encoded.digest == digest:
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
            vectors = torch.from_numpy(self._items.encode(items, encoder, self._text_of)).half()
            slots = self._store(vectors)
            for (item, entry), slot in zip(taken, slots, strict=True):
                self._encoded[item] = _EncodedText(self._digest(entry), slot)
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

    def _digest(self, entry: CatalogueEntry) -> str:
        """Return the content digest of an entry whose text is known, as its learner has it."""
        assert entry.digest is not None, "update keeps no entry without a text"
        sizes = self._items.sizes
        attributes = {*sizes.attributes, *sizes.relations}
        return digest_of(entry.item, attributes) if attributes else entry.digest

    def _text_of(self, item: str) -> str:
        """Return the text of an item of the catalogue; empty if it is not there."""
        entry = self._catalogue.get(item)
        return entry.item.text if entry is not None else ""

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
