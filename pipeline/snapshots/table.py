"""The rows of a snapshot in memory; layers are applied in place, at a cost that follows what they change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.encoded_vectors import EncodedVectors
from pipeline.model.item_table import RESERVED
from pipeline.model.reserved import reserved_zeros
from pipeline.snapshots.layer import (
    SCALES,
    Layer,
    RowValues,
    centroids_of,
    items_in,
    pairs_of,
    scanned_of,
    texts_of,
)
from pipeline.snapshots.slots import Slots
from pipeline.state.counts import PairCounts, PairRows
from pipeline.state.growing import distinct
from pipeline.state.popularity import DecayedPopularity

GROWTH = 1.25
COLUMNS = {
    "vectors": "content",
    SCALES["vectors"]: "content",
    "residual": "learned",
    SCALES["residual"]: "learned",
    "bias": "learned",
    "effects": "rated",
    "lists": "indexed",
}
"""Dense columns, and the part of a layer that has their values; scales only if the vectors are of 8 bits."""

SPARSE = "residual"
"""The column that is zero in most rows of a large catalogue, until they have been learned."""
LEAST_SPARSE = 16_384
"""Items from which on it is kept in slots; fewer may all be scored, for which they lie in order."""
TYPES = {"vectors": torch.float16, "residual": torch.float32}
"""Number types of vectors that are as they were learned."""


class SnapshotTable:
    """Ids, content digests and columns of n items, with room for more.

    Attributes:
        ids: by row.
        digests: content digest of each item, in the order of rows.
        rows: row of each item.
        pairs, popularity: counts, with the scales of the last layers that were applied.
        scanned: the rows that are scanned, by slot; replaced when a layer changes them, as `centroids`.
        centroids: of the search by content, ``[c, d]``; None without any.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.digests: dict[str, str] = {}
        self.rows: dict[str, int] = {}
        self.pairs, self.popularity = PairCounts(), DecayedPopularity(math.inf)
        self.scanned = np.zeros(0, dtype=np.int64)
        self.centroids: NDArray[np.float32] | None = None
        self._columns: dict[str, NDArray[Any]] = {}
        self._slots: Slots | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> NDArray[Any]:
        """Return a view ``[n, ...]`` of a dense column; a copy of one that is kept in slots."""
        slots = self._slots_of(name)
        return self._columns[name][: len(self)] if slots is None else self._columns[name][slots.by_row]

    def vectors(self, name: str) -> Tensor:
        """Return a column of vectors as numbers: a tensor, or what gathers rows as one does."""
        slots = self._slots_of(name)
        codes = torch.from_numpy(self.column(name) if slots is None else self._columns[name])
        if slots is None and codes.dtype == TYPES[name]:
            return codes
        scales = torch.from_numpy(self.column(SCALES[name])) if SCALES[name] in self._columns else None
        by_row = None if slots is None else torch.from_numpy(slots.by_row)
        return cast("Tensor", EncodedVectors(codes, scales, by_row))

    def layer(self) -> Layer:
        """Return all rows as one layer; without values that are zero where they are kept in slots."""
        rows = np.arange(len(self))
        return {
            "items": texts_of(self.digests.items(), rows),
            **{part: self._part(part, rows) for part in COLUMNS.values()},
            "popularity": RowValues(rows, {"counts": self.popularity.all_stored()}),
            "pairs": pairs_of(rows, self.pairs.stored(rows)),
            "scanned": scanned_of(np.arange(self.scanned.size), self.scanned),
            "centroids": centroids_of(self.centroids, self.column("vectors").shape[1]),
        }

    def check(self, layers: Sequence[Layer], size: int) -> None:
        """Check that layers fit the items of this table, and make it one of `size` items.

        Raises:
            ValueError: an item would change its row, rows would be left without an item, or a row would be
                scanned twice, or indexed by a centroid that there is not.
        """
        self._check_choice(layers)
        known, rows = len(self), len(self)
        added: dict[str, int] = {}
        for layer in layers:
            part = layer["items"]
            for row, (item, _) in zip(part.rows.tolist(), items_in(part), strict=True):
                if row == rows and item not in self.rows and item not in added:
                    added[item] = row
                    rows += 1
                elif row != (self.rows.get(item) if row < known else added.get(item)):
                    raise ValueError(f"row {row} is of another item")
        if rows != size:
            raise ValueError(f"its {rows} items do not match its {size} rows")

    def _check_choice(self, layers: Sequence[Layer]) -> None:
        scanned, centroids = self._scanned_after(layers), 0 if self.centroids is None else len(self.centroids)
        for layer in layers:
            centroids = layer["centroids"].rows.size or centroids
            if layer["indexed"].values["lists"].max(initial=0) > centroids:
                raise ValueError("a row is indexed by a centroid that there is not")
        if scanned is self.scanned:
            return
        if scanned.min(initial=0) < 0 or distinct(scanned).size != scanned.size:
            raise ValueError("a row is scanned twice, or a slot is empty")

    def reserve(self, layers: Sequence[Layer], size: int) -> None:
        """Make room for layers and `size` items, so that `apply` copies nothing that it does not change.

        Values stay as they are, and views of columns keep the old ones.
        """
        for name, column in self._columns.items():
            slots = self._slots_of(name)
            used, needed = (len(column), size) if slots is None else (slots.used, size + 1)
            if needed > len(column):
                self._columns[name] = _moved(column[:used], needed)
        if self._slots is not None:
            self._slots.reserve(size)
        self.pairs.reserve([found for layer in layers if (found := layer["pairs"].lengths) is not None])

    def apply(self, layers: Sequence[Layer], size: int) -> None:
        """Apply layers, oldest first, that were checked; the table has `size` items then.

        A first layer with the content of every item becomes the table's own, without a copy.
        """
        self.reserve(layers, size)
        for layer in layers:
            self._set_items(layer)
        for name, part in COLUMNS.items():
            parts = [layer[part] for layer in layers if name in layer[part].values]
            if parts:
                self._apply_column(name, [(found.rows, found.values[name]) for found in parts], size)
        self.pairs.grow(size)
        self.popularity.grow(size)
        for layer in layers:
            acts, pairs = layer["popularity"], layer["pairs"]
            assert pairs.lengths is not None
            lengths = pairs.lengths.astype(np.int64)
            self.popularity.replace(acts.rows, acts.values["counts"])
            self.pairs.replace(pairs.rows, PairRows(lengths, pairs.values["columns"], pairs.values["counts"]))
            if layer["centroids"].rows.size:
                self.centroids = layer["centroids"].values["vectors"]
        self.scanned = self._scanned_after(layers)

    def _scanned_after(self, layers: Sequence[Layer]) -> NDArray[np.int64]:
        """Return the scanned rows with those of layers; -1 where a slot before the last is empty."""
        scanned = self.scanned
        for layer in layers:
            part = layer["scanned"]
            if part.rows.size:
                room = np.full(max(scanned.size, int(part.rows[-1]) + 1), -1)
                room[: scanned.size] = scanned
                room[part.rows] = part.values["items"] - 1
                scanned = room[: np.flatnonzero(room >= 0).max(initial=-1) + 1]
        return scanned

    def _set_items(self, layer: Layer) -> None:
        for row, (item, digest) in zip(layer["items"].rows.tolist(), items_in(layer["items"]), strict=True):
            if row == len(self.ids):
                self.ids.append(item)
                self.rows[item] = row
            self.digests[item] = digest

    def _apply_column(
        self, name: str, changes: list[tuple[NDArray[np.int64], NDArray[Any]]], size: int
    ) -> None:
        if name not in self._columns:
            rows, values = changes[0]
            is_all = rows.size == size  # ascending, so that each row is there
            self._columns[name] = values if is_all else _moved(values[:0], size + 1)
            if name == SPARSE and not is_all and size > LEAST_SPARSE:
                self._slots = Slots()
        column, slots = self._columns[name], self._slots_of(name)
        if slots is not None:
            slots.grow(size)
        for rows, values in changes:
            if values is not column:
                column[rows if slots is None else slots.given(rows)] = values

    def _slots_of(self, name: str) -> Slots | None:
        """Return where the rows of a column are; None if they lie in order."""
        return self._slots if name == SPARSE else None

    def _part(self, part: str, rows: NDArray[np.int64]) -> RowValues:
        """Return the rows of a part that have values."""
        if self._slots is not None and part == COLUMNS[SPARSE]:
            rows = self._slots.rows
        values = {
            name: self.column(name) if rows.size == len(self) else self._gathered(name, rows)
            for name in self._columns
            if COLUMNS[name] == part
        }
        return RowValues(rows, values)

    def _gathered(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return copies of rows of a column."""
        slots = self._slots_of(name)
        return self._columns[name][rows if slots is None else slots.by_row[rows]]


def _moved(column: NDArray[Any], size: int) -> NDArray[Any]:
    """Copy a column ``[n, ...]`` to one with room for `size` rows and more; it takes memory where written."""
    room = max(RESERVED, int(GROWTH * size))
    dtype = torch.from_numpy(column[:0]).dtype
    moved: NDArray[Any] = reserved_zeros(room, *column.shape[1:], dtype=dtype).numpy()
    moved[: len(column)] = column
    return moved
