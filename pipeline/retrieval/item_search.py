"""The two searches of a catalogue: of chosen rows by a scan, and of all others by their content.

What they find is a function of the items, their counts and the choice. A learner makes the choice, keeps it
in its checkpoints and publishes it: when it starts again it finds the same, and so does each server.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.model.item_table import Rows
from pipeline.model.recommender import Recommender
from pipeline.retrieval.content_index import NOTHING, ContentIndex
from pipeline.retrieval.scan import NO_ROWS, Queries, Scan, ScanResult
from pipeline.state.popularity import DecayedPopularity


class SearchChoice(NamedTuple):
    """How a catalogue is searched.

    Attributes:
        rows: ``[r]`` the distinct catalogue rows that are scanned, by slot.
        has_content: whether their content is scanned, too.
        centroids: ``[c, d]``, by which the content of all other rows is searched; None while it is not.
        lists: by row, see `ContentIndex`; None to find them.
    """

    rows: NDArray[np.int64] = NO_ROWS
    has_content: bool = False
    centroids: NDArray[np.float32] | None = None
    lists: NDArray[np.int32] | None = None


class ItemSearch:
    """Both searches, kept up to date with a table and its counts.

    Attributes:
        choice: how it searches; nothing is scanned before the first `choose`.
        log_shares: ``[r]`` of the scanned rows.
    """

    def __init__(self) -> None:
        self.choice = SearchChoice()
        self.log_shares = np.zeros(0, dtype=np.float32)
        self._scan = Scan()
        self._counts: NDArray[np.float64] | None = None
        self._index: ContentIndex | None = None
        self._size = 0

    @property
    def is_complete(self) -> bool:
        """Whether all rows are scanned."""
        return self.choice.rows.size == self._size

    @property
    def lists(self) -> NDArray[np.int32]:
        """``[n]`` where the content of each row is searched; zeros while it is not."""
        if self._index is None:
            return np.zeros(self._size, dtype=np.int32)
        self._index.grow(self._size)
        return self._index.lists.values

    def choose(self, choice: SearchChoice, table: Rows) -> None:
        """Search as chosen from now on; costs what is chosen otherwise than before.

        Rows that were searched before are not read again: `refresh` those that have changed.
        """
        before, self.choice = self.choice, choice
        if choice.rows is not before.rows or choice.has_content != before.has_content:
            self._scan.choose(choice.rows, table, choice.has_content)
            self._counts = None
        if choice.centroids is not before.centroids:
            self._index = None if choice.centroids is None else ContentIndex(choice.centroids)
            if self._index is not None:
                self._index.put_from(table, np.arange(len(table.bias)), choice.lists)
        elif choice.rows is before.rows:
            return
        if self._index is not None:
            self._index.hide(choice.rows)

    def refresh(
        self,
        table: Rows,
        popularity: DecayedPopularity,
        learned: NDArray[np.int64],
        encoded: NDArray[np.int64],
        counted: NDArray[np.int64] | None = None,
    ) -> None:
        """Make ready to search a table and counts as they are now.

        Args:
            table, popularity: over the same rows.
            learned: distinct rows whose residual or bias has changed.
            encoded: distinct rows whose content has changed.
            counted: distinct rows whose stored count has changed; None if that is not known.
        """
        self._size = len(table.bias)
        self._scan.refresh(learned, encoded, table)
        if self._index is not None:
            self._index.put_from(table, encoded, self.choice.lists)
        counts = self._counted(popularity, counted) * popularity.scale
        self.log_shares, trend = popularity.log_share_of(counts), self._trend(popularity, counts)
        shares = (torch.from_numpy(logs).to(table.bias.device) for logs in (self.log_shares, trend))
        self._scan.set_popularity(*shares)

    def _trend(self, popularity: DecayedPopularity, counts: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the trend ``[r]`` of the scanned rows, given their counts."""
        latest, window = np.zeros_like(counts), popularity.latest
        slots, at = self._scan.scanned(window.rows)
        latest[slots] = window.counts[at]
        return popularity.trend_of(latest, counts)

    def _counted(
        self, popularity: DecayedPopularity, changed: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """Return the stored counts ``[r]`` of the scanned rows.

        They are kept side by side: to gather them from those of a million items takes as long as to compute
        their log-shares.
        """
        if self._counts is None or changed is None:
            self._counts = popularity.stored(self.choice.rows)
        else:
            slots, at = self._scan.scanned(changed)
            self._counts[slots] = popularity.stored(changed[at])
        return self._counts

    def find(
        self, recommender: Recommender, asked: Queries, items: Rows, best: int, nearest: int
    ) -> ScanResult:
        """Find rows for m targets; a row may recur.

        Args:
            recommender: scores users against the table.
            asked: of the targets.
            items: the table.
            best: number of scanned rows; fewer if fewer are scanned.
            nearest: number of rows that are found by their content among those that are not scanned.
        """
        rows, bound = self._scan.search(recommender, asked, items, best)
        if not self.is_complete:
            bound = torch.full_like(bound, torch.inf)
        if self._index is not None:
            queries = recommender.of_content(recommender.of_residual(asked.users))
            near = self._index.search(queries.cpu().numpy(), nearest)
            rows = np.concatenate([rows, np.where(near == NOTHING, rows[:, :1], near)], axis=1)
        return ScanResult(rows, bound)
