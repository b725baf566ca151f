"""Texts that the base does not know yet, and their vectors: what lets a new item be shown at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.serve.state.item_index import CatalogueEntries, CatalogueEntry, ItemIndex
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from pipeline.model.content.adapter import adapter_digest
from pipeline.model.content.text import TextEncoder
from pipeline.model.item_table import Rows

NOBODY: CatalogueEntries = {}


class _Told(NamedTuple):
    digest: str
    vector: NDArray[np.float32]


class TextOverlay:
    """New and changed texts of the catalogue; without a base there is nothing to score with."""

    def __init__(
        self,
        base: LoadedSnapshot | None,
        listed: CatalogueEntries = NOBODY,
        before: TextOverlay | None = None,
    ) -> None:
        """Compare the catalogue with a base; vectors that were encoded as it encodes are kept."""
        self._base = base
        self._encoder = adapter_digest(base.encoder) if base else ""
        self._waiting: dict[str, CatalogueEntry] = {}
        kept = before is not None and before._encoder == self._encoder
        self._told: dict[str, _Told] = dict(before._told) if before and kept else {}
        for item, listing in listed.items():
            self.tell(item, listing)

    @property
    def waiting(self) -> int:
        """How many texts wait to be encoded; until then their items have their old content, or none."""
        return len(self._waiting)

    def tell(self, item: str, listing: CatalogueEntry | None) -> None:
        """Take in what the catalogue says of an item, None if it was removed."""
        told = self._told.pop(item, None)
        self._waiting.pop(item, None)
        if listing is None or self._base is None or self._base.digests.get(item) == listing.digest:
            return
        if told is not None and told.digest == listing.digest:
            self._told[item] = told
        else:
            self._waiting[item] = listing

    def encode(self, encoder: TextEncoder, most: int) -> int:
        """Encode some of the texts that wait, as the base encodes; returns how many."""
        taken = list(self._waiting.items())[:most]
        if taken:
            vectors = encoder.encode([listing.item.text for _, listing in taken])
            for (item, listing), vector in zip(taken, vectors, strict=True):
                self._told[item] = _Told(listing.digest, vector)
                del self._waiting[item]
        return len(taken)

    def overlaid(self, base: LoadedSnapshot, index: ItemIndex) -> Rows:
        """The base's rows with those of new items and the vectors of new texts, over the shelf."""
        extra = len(index) - len(base.rows)
        if not self._told and not extra:
            return base.items
        content, residual, bias = (
            torch.cat([column, column.new_zeros(extra, *column.shape[1:])]) for column in base.items
        )
        if self._told:
            vectors = np.stack([told.vector for told in self._told.values()])
            content[torch.from_numpy(index.rows_of(self._told))] = torch.from_numpy(vectors)
        return Rows(content, residual, bias)
