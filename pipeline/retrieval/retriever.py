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
from pipeline.retrieval.scan import NO_ROWS, Scan
from pipeline.state.popularity import Popularity

CHOSEN_EVERY = 64
"""Batches after which the scanned rows are chosen again; it costs some 50 ms."""


class Retriever:
    """Finds candidates in an item table; idle while all items are scored.

    What it finds is a function of the table, the counts and `scanned`, which a checkpoint keeps.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._scan = Scan(config.scanned)
        self._stale: list[NDArray[np.int64]] = []

    @property
    def scanned(self) -> NDArray[np.int64]:
        """The catalogue rows that are scanned; empty while all items are scored."""
        return self._scan.rows

    def is_needed(self, size: int) -> bool:
        """Whether a catalogue is too large for all its items to be scored."""
        return size > self._config.exact_items

    def load(self, scanned: NDArray[np.int64], table: ItemTable) -> None:
        """Scan the rows of a checkpoint."""
        self._stale = []
        self._scan.choose(scanned, table.all(), table.has_content)

    def changed(self, rows: NDArray[np.int64]) -> None:
        """Note that the table has changed in some rows."""
        if self._scan.rows.size:
            self._stale.append(rows)

    def update(self, step: int, table: ItemTable, popularity: Popularity) -> None:
        """Make ready for the searches of a batch."""
        rows, size = table.all(), len(table)
        if not self.is_needed(size):
            return
        beyond = size > self._scan.capacity
        if (
            self._scan.rows.size == 0
            or table.has_content != self._scan.has_content
            or (beyond and step % CHOSEN_EVERY == 0)
        ):
            chosen = popularity.top(self._scan.capacity) if beyond else np.arange(size)
            self._scan.choose(chosen, rows, table.has_content)
        else:
            if not beyond:
                self._scan.extend(np.arange(self._scan.rows.size, size), rows)
            self._scan.refresh(np.unique(np.concatenate([NO_ROWS, *self._stale])), rows)
        self._stale = []
        shares = popularity.log_share(self._scan.rows)
        self._scan.set_popularity(torch.from_numpy(shares).to(rows.bias.device))

    def retrieve(
        self, contexts: Contexts, recommender: Recommender, mixer: Tensor, samples: Samples = NO_SAMPLES
    ) -> Retrieved:
        """Gather the candidates of m targets: the best by each source.

        Args:
            contexts: of the targets.
            recommender, mixer: what scores them: the model, and the weights ``[situations, features]``.
            samples: what represents all other items.
        """
        m, size = contexts.shares.shape
        weights = mixer[torch.from_numpy(contexts.situation).to(mixer.device)]
        best = self._scan.search(recommender, contexts.users, weights, self._config.best)
        found = np.stack([np.repeat(np.arange(m), best.rows.shape[1]), best.rows.ravel()])
        covisited, left_out = _highest(contexts.shares, self._config.covisited)
        pairs = [found, contexts.facts[0][1:], covisited]
        bound = best.bound if self._scan.rows.size == size else torch.full_like(best.bound, torch.inf)
        return Retrieved(Candidates.of(pairs, m, size, samples), bound, left_out)


def _highest(shares: sp.csr_array, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return pairs ``[2, p]`` of row and column of the highest entries of each row; the highest left out."""
    sizes = np.diff(shares.indptr)
    row = np.repeat(np.arange(sizes.size), sizes)
    order = np.lexsort((shares.indices, -shares.data, row))
    place = np.arange(order.size) - np.repeat(shares.indptr[:-1], sizes)
    left_out = np.zeros(sizes.size)
    left_out[row[order[place == count]]] = shares.data[order[place == count]]
    kept = order[place < count]
    return np.stack([row[kept], shares.indices[kept].astype(np.int64)]), left_out
