"""The retriever: gathers the candidates of targets from the scan, covisitation and what is known of users."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import RetrievalConfig
from pipeline.model.item_table import ItemTable
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts
from pipeline.retrieval.candidates import NO_SAMPLES, Candidates, Retrieved, Samples
from pipeline.retrieval.content_index import NOTHING, ContentIndex, choose_centroids
from pipeline.retrieval.scan import NO_ROWS, Scan
from pipeline.state.popularity import Popularity

CHOSEN_EVERY = 64
"""Batches after which the scanned rows are chosen again; it costs some 50 ms."""


class Retriever:
    """Finds candidates in an item table; idle while all items are scored.

    What it finds is a function of the table, the counts, `scanned` and `centroids`.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._scan = Scan()
        self._nearest: ContentIndex | None = None
        self._changed: list[NDArray[np.int64]] = []
        self._encoded: list[NDArray[np.int64]] = []

    @property
    def scanned(self) -> NDArray[np.int64]:
        """The catalogue rows that are scanned; empty while all items are scored."""
        return self._scan.rows

    @property
    def centroids(self) -> NDArray[np.float32] | None:
        """The centroids by which content is searched; None while it is not."""
        return None if self._nearest is None else self._nearest.centroids

    def is_needed(self, size: int) -> bool:
        """Whether a catalogue is too large for all its items to be scored."""
        return size > self._config.exact_items

    def load(
        self, scanned: NDArray[np.int64], centroids: NDArray[np.float32] | None, table: ItemTable
    ) -> None:
        """Restore what a checkpoint holds; the table has been restored."""
        self._changed, self._encoded, self._nearest = [], [], None
        capacity = self._config.rows_scanned(table.has_content)
        if not self.is_needed(len(table)) or scanned.size > capacity:
            return  # the settings are others now: rows are chosen when they are needed
        self._choose(scanned, table)
        self._nearest = None if centroids is None else ContentIndex(centroids)
        if self._nearest is not None:
            self._nearest.put_from(table.all(), np.arange(len(table)))
            self._nearest.hide(scanned)

    def changed(self, rows: NDArray[np.int64]) -> None:
        """Note that residuals or biases of rows have changed."""
        if self._scan.rows.size:
            self._changed.append(rows)

    def encoded(self, rows: NDArray[np.int64]) -> None:
        """Note that the content of rows has changed."""
        if self._scan.rows.size:
            self._encoded.append(rows)

    def update(self, step: int, table: ItemTable, popularity: Popularity) -> None:
        """Make ready for the searches of a batch."""
        rows, size = table.all(), len(table)
        capacity = self._config.rows_scanned(table.has_content)
        is_beyond = size > capacity
        is_other = self._scan.rows.size == 0 or table.has_content != self._scan.has_content
        is_chosen = is_other or (is_beyond and step % CHOSEN_EVERY == 0)
        if is_chosen:
            self._choose(popularity.top(capacity) if is_beyond else np.arange(size), table)
        elif not is_beyond:
            self._scan.extend(np.arange(self._scan.rows.size, size), rows)
        self._scan.refresh(_distinct(self._changed + self._encoded), rows)
        if is_beyond and table.has_content:
            self._update_nearest(table, is_chosen)
        self._changed, self._encoded = [], []
        shares = popularity.log_share(self._scan.rows)
        self._scan.set_popularity(torch.from_numpy(shares).to(rows.bias.device))

    def _choose(self, scanned: NDArray[np.int64], table: ItemTable) -> None:
        capacity = self._config.rows_scanned(table.has_content)
        self._scan.choose(scanned, capacity, table.all(), table.has_content)

    def _update_nearest(self, table: ItemTable, is_chosen: bool) -> None:
        """Take in what was encoded; hide the scanned rows if they are others than before."""
        is_new = self._nearest is None
        if self._nearest is None:
            content = table.all().content
            with_content = content[content.any(dim=1)].cpu().numpy()
            self._nearest = ContentIndex(choose_centroids(with_content))
            self._encoded = [np.arange(len(table))]
        self._nearest.put_from(table.all(), _distinct(self._encoded))
        if is_new or is_chosen:
            self._nearest.hide(self._scan.rows)

    def retrieve(
        self, contexts: Contexts, recommender: Recommender, mixer: Tensor, samples: Samples = NO_SAMPLES
    ) -> Retrieved:
        """Gather the candidates of m targets: the best by each source.

        Args:
            contexts: of the targets.
            recommender, mixer: what scores them: the model, and the weights ``[situations, features]``.
            samples: what represents all other items.
        """
        weights = mixer[torch.from_numpy(contexts.situation).to(mixer.device)]
        best = self._scan.search(recommender, contexts.users, weights, self._config.best)
        is_complete = self._scan.rows.size == contexts.shares.shape[1]
        bound = best.bound if is_complete else torch.full_like(best.bound, torch.inf)
        rows = best.rows
        if self._nearest is not None:
            queries, _ = recommender.queries(contexts.users)
            near = self._nearest.search(queries.cpu().numpy(), self._config.nearest)
            rows = np.concatenate([rows, np.where(near == NOTHING, rows[:, :1], near)], axis=1)
        return candidates_of(rows, bound, contexts, self._config.covisited, samples)


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


def _distinct(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([NO_ROWS, *parts]))


def _highest(shares: sp.csr_array, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return pairs ``[2, p]`` of row and column of the highest entries of each row; the highest left out."""
    sizes = np.diff(shares.indptr)
    row = np.repeat(np.arange(sizes.size), sizes)
    if sizes.max(initial=0) <= count:
        return np.stack([row, shares.indices.astype(np.int64)]), np.zeros(sizes.size)
    order = np.lexsort((shares.indices, -shares.data, row))
    place = np.arange(order.size) - np.repeat(shares.indptr[:-1], sizes)
    left_out = np.zeros(sizes.size)
    left_out[row[order[place == count]]] = shares.data[order[place == count]]
    kept = order[place < count]
    return np.stack([row[kept], shares.indices[kept].astype(np.int64)]), left_out
