"""The retriever of a learner: chooses what is searched, and gathers the candidates of targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import RetrievalConfig
from pipeline.model.item_table import ItemTable, Rows
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import TARGETS_AT_ONCE, Contexts
from pipeline.retrieval.candidates import NO_SAMPLES, Candidates, Retrieved, Samples
from pipeline.retrieval.content_index import choose_centroids
from pipeline.retrieval.item_search import ItemSearch, SearchChoice
from pipeline.retrieval.scan import Queries
from pipeline.state.growing import ChangedRows, distinct
from pipeline.state.popularity import DecayedPopularity, Popularity

CHOSEN_EVERY = 64
"""Batches after which the scanned rows are chosen again; it costs some 50 ms.

The first ones say most of what is popular, so rows are chosen after 1, 2, 4, 8 … of them, too: those of the
first batch, chosen before anything is counted, would be scanned for all of these.
"""
VALUE_BITS = 32
"""Of a float32, which sort as the floats do if none is below zero."""


class ChangedChoice(NamedTuple):
    """Slots, ascending, with other rows than before or none, and whether there are centroids now."""

    slots: NDArray[np.int64]
    centroids: bool


class Retriever:
    """Finds candidates in an item table; idle while all items are scored.

    What it finds is a function of the table, the counts and `choice`.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._search = ItemSearch()
        self._learned: list[NDArray[np.int64]] = []
        self._encoded: list[NDArray[np.int64]] = []
        self._slots, self._has_new_centroids = ChangedRows(), False

    @property
    def choice(self) -> SearchChoice:
        """How the catalogue is searched; nothing is scanned while all items are scored."""
        return self._search.choice

    @property
    def lists(self) -> NDArray[np.int32]:
        """By row, where its content is searched, see `ContentIndex`; zeros while it is not."""
        return self._search.lists

    def is_needed(self, size: int) -> bool:
        """Whether a catalogue is too large for all its items to be scored."""
        return size > self._config.exact_items

    def load(
        self,
        scanned: NDArray[np.int64],
        table: ItemTable,
        centroids: NDArray[np.float32] | None,
        lists: NDArray[np.int32] | None,
    ) -> None:
        """Restore what a checkpoint holds; the table has been restored."""
        self._search, self._learned, self._encoded = ItemSearch(), [], []
        capacity = self._config.rows_scanned(table.has_content)
        if self.is_needed(len(table)) and 0 < scanned.size <= capacity:
            self._search.choose(SearchChoice(scanned, table.has_content, centroids, lists), table.all())
        # Otherwise the settings are others now, and rows are chosen when they are needed.

    def changed(self, rows: NDArray[np.int64]) -> None:
        """Note that residuals or biases of rows have changed."""
        if self.choice.rows.size:
            self._learned.append(rows)

    def encoded(self, rows: NDArray[np.int64]) -> None:
        """Note that the content of rows has changed."""
        if self.choice.rows.size:
            self._encoded.append(rows)

    def update(self, step: int, table: ItemTable, popularity: DecayedPopularity) -> None:
        """Make ready for the searches of a batch, if they are needed."""
        if not self.is_needed(len(table)):
            return
        rows = self._rows(step, table, popularity)
        choice = SearchChoice(rows, table.has_content, self._centroids(table))
        self._slots.grow(len(table))
        self._note(choice)
        self._search.choose(choice, table.all())
        self._search.refresh(table.all(), popularity, distinct(*self._learned), distinct(*self._encoded))
        self._learned, self._encoded = [], []

    def take_changed(self) -> ChangedChoice:
        """Return what is chosen otherwise than when this was last taken."""
        has_new, self._has_new_centroids = self._has_new_centroids, False
        return ChangedChoice(self._slots.take(), has_new)

    def _rows(self, step: int, table: ItemTable, popularity: Popularity) -> NDArray[np.int64]:
        """Choose the scanned rows by slot: all, or the most popular ones."""
        before, size = self.choice, len(table)
        capacity = self._config.rows_scanned(table.has_content)
        if size <= capacity:
            return before.rows if before.rows.size == size else np.arange(size)
        if before.rows.size == capacity and step % CHOSEN_EVERY and step & (step - 1):
            return before.rows
        return _exchanged(before.rows, popularity.top(capacity))

    def _centroids(self, table: ItemTable) -> NDArray[np.float32] | None:
        """Choose the centroids, once, when there are texts that are not scanned."""
        is_scanned = len(table) <= self._config.rows_scanned(table.has_content)
        if self.choice.centroids is not None or is_scanned or not table.has_content:
            return self.choice.centroids
        return choose_centroids(table.all().content)

    def _note(self, choice: SearchChoice) -> None:
        """Note what is chosen otherwise than before."""
        before, rows = self.choice.rows, choice.rows
        self._has_new_centroids |= choice.centroids is not self.choice.centroids
        if rows is not before:
            slots = np.full((2, max(rows.size, before.size)), -1)
            slots[0, : rows.size], slots[1, : before.size] = rows, before
            self._slots.add(np.flatnonzero(slots[0] != slots[1]))

    def retrieve(
        self,
        contexts: Contexts,
        recommender: Recommender,
        mixer: Tensor,
        items: Rows,
        samples: Samples = NO_SAMPLES,
    ) -> Iterator[Retrieved]:
        """Gather the candidates of m targets, the best by each source, for each of `contexts.blocks`.

        One search is made for all.

        Args:
            contexts: of the targets.
            recommender, mixer: what scores them: the model, and the weights ``[situations, features]``.
            items: all rows of the table.
            samples: what represents all other items.
        """
        config, asked = self._config, Queries.of(contexts, mixer)
        found = self._search.find(recommender, asked, items, config.best, config.nearest)
        for number, block in enumerate(contexts.blocks):
            at = slice(TARGETS_AT_ONCE * number, TARGETS_AT_ONCE * (number + 1))
            yield candidates_of(found.rows[at], found.bound[at], block, config.covisited, samples)


def candidates_of(
    rows: NDArray[np.int64],
    bound: Tensor,
    contexts: Contexts,
    covisited: int,
    samples: Samples = NO_SAMPLES,
) -> Retrieved:
    """Join what searches found with what covisitation and facts name.

    Args:
        rows: ``[m, k]`` what was found, in no order; a row may recur.
        bound: ``[m]`` what no other scanned row exceeds.
        contexts: of the m targets.
        covisited: number of candidates of each target that covisitation suggests.
        samples: what represents all other items.
    """
    m, size = contexts.shares.shape
    found = np.stack([np.repeat(np.arange(m), rows.shape[1]), rows.ravel()])
    suggested, left_out = _highest(contexts.shares, covisited)
    pairs = [found, contexts.facts[0][1:], suggested]
    return Retrieved(Candidates.of(pairs, m, size, samples), bound, left_out)


def _exchanged(rows: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return wanted rows by slot; of as many as before, those that had a slot keep it."""
    if rows.size != wanted.size:
        return wanted
    is_gone, exchanged = ~np.isin(rows, wanted), rows.copy()
    ascending = distinct(wanted)
    exchanged[is_gone] = ascending[~np.isin(ascending, rows)]
    return exchanged


def _highest(shares: sp.csr_array, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return pairs ``[2, p]`` of row and column of the highest entries of each row; the highest left out."""
    sizes = np.diff(shares.indptr)
    row = np.repeat(np.arange(sizes.size), sizes)
    if sizes.max(initial=0) <= count:
        return np.stack([row, shares.indices.astype(np.int64)]), np.zeros(sizes.size)
    order = _falling(row, shares.data)
    place = np.arange(order.size) - np.repeat(shares.indptr[:-1], sizes)
    left_out = np.zeros(sizes.size)
    left_out[row[order[place == count]]] = shares.data[order[place == count]]
    kept = order[place < count]
    return np.stack([row[kept], shares.indices[kept].astype(np.int64)]), left_out


def _falling(row: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Order values ``[p]``, none below zero, by row and then from the highest; equal ones stay in order.

    A sort of keys with row, bits of the value and place is a tenth of a `lexsort`.
    """
    bits = values.size.bit_length()
    falling = (~values.view(np.uint32)).astype(np.int64)
    keys = np.sort((row << (VALUE_BITS + bits)) | (falling << bits) | np.arange(values.size))
    order: NDArray[np.int64] = keys & ((1 << bits) - 1)
    return order
