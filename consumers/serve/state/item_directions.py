"""The directions of a snapshot's item vectors: each is computed once, however many answers need it."""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.serve.state.item_rows import ItemRows
from pipeline.model.recommender import Recommender
from pipeline.value.features import directions
from pipeline.value.port import Vectors

MOST_KEPT = 16_384
"""Directions that are kept; those of 384 numbers are 25 MB."""


class ItemDirections:
    """Item vectors ``[·, d]`` of length 1, those without text and learned weights of 0; thread-safe.

    It keeps those of the n rows of a snapshot. The next snapshot has other adapters, and needs a new one, for
    which no array of size n is filled: a row's slot counts if the row is also that of the slot (Briggs &
    Torczon 1993).
    """

    def __init__(self, recommender: Recommender, rows: int, width: int, most: int = MOST_KEPT) -> None:
        self._recommender = recommender
        room = min(rows, most)
        self._slots = np.empty(rows, dtype=np.uint32)
        self._rows = np.empty(room, dtype=np.int64)
        self._kept: Vectors = np.empty((room, width), dtype=np.float32)
        self._used = 0
        self._lock = Lock()

    def at(self, items: ItemRows, rows: NDArray[np.int64]) -> Vectors:
        """Return the directions ``[m, d]`` of distinct rows ``[m]``; those that are newer are not kept."""
        is_newer = items.are_newer(rows)
        if not is_newer.any():
            return self._of_snapshot(items, rows)
        found = np.empty((rows.size, self._kept.shape[1]), dtype=np.float32)
        found[is_newer] = self._computed(items, rows[is_newer])
        found[~is_newer] = self._of_snapshot(items, rows[~is_newer])
        return found

    def _of_snapshot(self, items: ItemRows, rows: NDArray[np.int64]) -> Vectors:
        if rows.size > len(self._kept):
            return self._computed(items, rows)
        with self._lock:
            missing = rows[~self._are_kept(rows)]
            if missing.size:
                self._keep(items, rows, missing)
            return self._kept.take(self._slots[rows], axis=0)

    def _are_kept(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """``[m]`` mask of the rows ``[m]`` that are kept; the slots of others are whatever memory held."""
        slots = self._slots[rows]
        is_kept = slots < self._used
        is_kept[is_kept] = self._rows[slots[is_kept]] == rows[is_kept]
        return is_kept

    def _keep(self, items: ItemRows, rows: NDArray[np.int64], missing: NDArray[np.int64]) -> None:
        """Keep those that are missing; if there is no room for them, forget all but `rows`."""
        if self._used + missing.size > len(self._kept):
            self._used, missing = 0, rows
        vectors, taken = self._computed(items, missing), slice(self._used, self._used + missing.size)
        self._kept[taken], self._rows[taken] = vectors, missing
        self._slots[missing], self._used = np.arange(taken.start, taken.stop), taken.stop

    @torch.inference_mode()
    def _computed(self, items: ItemRows, rows: NDArray[np.int64]) -> Vectors:
        return directions(self._recommender.item_vectors(items.at(rows)).numpy())
