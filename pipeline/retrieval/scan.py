"""The scan: the best of a bounded number of items by the part of the mixture that every item has.

For a target, model, popularity, bias and trend are one product: of the query ``[w·σu, w·σq̃, w', w + 10·w'',
w''']`` with an item's ``[e, t, log share, b, trend]``, where q̃ = (I + BA)ᵀu folds the adapter in. Vectors
are rounded, and what is found is scored again in float32. The likeness of texts is added to the few rows that
have any.

An inverted file is not used here, because residual rows move with every batch: on DIGINETICA one of 256
lists that was 16 batches old found 75 % of the model's best hundred with 16 probes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from pipeline.model.encoded_vectors import rounded
from pipeline.model.item_table import Rows
from pipeline.model.mixer import ALIKE, BIAS_SCALE, FEATURES, TREND
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts
from pipeline.retrieval.alike_slots import AlikeSlots
from pipeline.retrieval.rounded_vectors import (
    LARGEST_CODE,
    NOWHERE,
    ROUNDING,
    RoundedVectors,
    best_of,
    in_groups,
    kernel_size,
    put_at,
)
from pipeline.state.growing import reaching

LEAST_SCALE = 1e-9
"""Of a query; what is left out counts as an error."""
MODEL, POPULARITY, BIAS = (FEATURES.index(name) for name in ("model", "popularity", "bias"))
ALONE = 3
"""Numbers of an item that no user's vector is multiplied with: log share, bias and trend."""
GROWTH = 1.5
BLOCK = 64
"""Targets whose scores are computed and searched at a time, in the processor's cache."""
NO_ROWS = np.zeros(0, dtype=np.int64)


class ScanResult(NamedTuple):
    """The best rows ``[m, k]`` of m targets, in no order; ``[m]`` what no other scanned row exceeds."""

    rows: NDArray[np.int64]
    bound: Tensor


def every_row(rows: NDArray[np.int64], users: Tensor) -> ScanResult:
    """Return all rows ``[r]`` for m users ``[m, d]``: what is found where no more are scanned than wanted."""
    every = np.broadcast_to(rows, (len(users), rows.size))
    return ScanResult(every, users.new_full((len(users),), -torch.inf))


class Queries(NamedTuple):
    """What m targets are searched for.

    Attributes:
        users: ``[m, d]`` user vectors.
        weights: ``[m, features]`` the mixer's weights.
        latest: ``[m, len(NEARNESS)]`` rows of the items acted on last, see `pipeline.model.likeness`.
    """

    users: Tensor
    weights: Tensor
    latest: NDArray[np.int64]

    def at(self, some: slice) -> Queries:
        """Return those of some targets."""
        return Queries(self.users[some], self.weights[some], self.latest[some])

    @classmethod
    def of(cls, contexts: Contexts, mixer: Tensor) -> Queries:
        """Return those of contexts; `mixer` are the weights ``[situations, features]``."""
        weights = mixer[torch.from_numpy(contexts.situation).to(mixer.device)]
        return cls(contexts.users, weights, contexts.latest)


class Scan:
    """Copies of some rows of an item table.

    Attributes:
        rows: ``[r]`` the catalogue rows that are scanned, in the order of their slots.
    """

    def __init__(self) -> None:
        self.rows = NO_ROWS
        self._slots = np.zeros(0, dtype=np.int64)
        self._residual = RoundedVectors(0, torch.device("cpu"))
        self._content: RoundedVectors | None = None
        self._alike: AlikeSlots | None = None
        self._alone = torch.zeros(ALONE, 0)

    def choose(self, rows: NDArray[np.int64], table: Rows, has_content: bool) -> None:
        """Scan the given distinct rows ``[r]`` of a table ``[n]`` from now on, by slot, and no others.

        Rows that had their slots before are not copied again: `refresh` those that have changed.
        """
        self._make_room(rows.size, table, has_content)
        known = min(rows.size, self.rows.size)
        is_other = rows[:known] != self.rows[:known]
        self._slots = reaching(self._slots, len(table.bias), NOWHERE)
        self._slots[self.rows] = NOWHERE
        self._slots[rows] = np.arange(rows.size)
        if self._alike and rows.size < self.rows.size:
            self._alike.forget_all()
        self.rows = rows
        self._copy(np.concatenate([rows[:known][is_other], rows[known:]]), table, has_content)

    def _make_room(self, count: int, table: Rows, has_content: bool) -> None:
        """Make room for `count` rows; those that are scanned stay if they are of the same width."""
        widths = table.residual.shape[1], table.content.shape[1] if has_content else 0
        device = table.residual.device
        before = self._residual.codes.shape[1], self._content.codes.shape[1] if self._content else 0
        if before != widths or self._alone.device != device:
            self._slots[self.rows], self.rows = NOWHERE, NO_ROWS
            self._residual = RoundedVectors(widths[0], device)
            self._content = RoundedVectors(widths[1], device) if has_content else None
            self._alike = AlikeSlots(self._content, widths[0]) if self._content else None
            self._alone = torch.zeros(ALONE, 0, device=device)
        room = self._alone.shape[1]
        if count > room:
            more = in_groups(max(count, int(GROWTH * room)))
            self._alone = pad(self._alone, (0, more - room))
            for part in filter(None, (self._residual, self._content)):
                part.grow(more)

    def refresh(self, learned: NDArray[np.int64], encoded: NDArray[np.int64], table: Rows) -> None:
        """Copy rows again, as far as they are scanned, because the table has changed there.

        Args:
            learned: distinct rows with another residual or bias.
            encoded: distinct rows with other content.
            table: as it is now.
        """
        self._slots = reaching(self._slots, len(table.bias), NOWHERE)
        self._copy(learned, table, has_content=False)
        if self._alike and encoded.size:
            self._copy_content(encoded, table)

    def _copy(self, rows: NDArray[np.int64], table: Rows, has_content: bool) -> None:
        """Copy residual and bias of rows as far as they are scanned, and their content."""
        where, at = self._placed(rows, table)
        self._residual.put(where, table.residual.index_select(0, at))
        put_at(self._alone[1], where, table.bias.index_select(0, at))
        if has_content:
            self._copy_content(rows, table)

    def _copy_content(self, rows: NDArray[np.int64], table: Rows) -> None:
        assert self._content and self._alike
        where, at = self._placed(rows, table)
        if not len(where):
            return
        self._alike.forget_alike(where)
        self._content.put(where, table.content.index_select(0, at).float())
        self._alike.forget_alike(where)

    def scanned(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the slots of those of some rows that are scanned, and where these are among the rows."""
        slots = self._slots[rows]
        at = np.flatnonzero(slots != NOWHERE)
        return slots[at], at

    def _placed(self, rows: NDArray[np.int64], table: Rows) -> tuple[Tensor, Tensor]:
        """Return the slots of those of some rows that are scanned, and these rows, where the table is."""
        slots, at = self.scanned(rows)
        device = table.bias.device
        return torch.from_numpy(slots).to(device), torch.from_numpy(rows[at]).to(device)

    @property
    def has_content(self) -> bool:
        """Whether content is scanned, too; nothing has any in a catalogue without texts."""
        return self._content is not None

    def set_popularity(self, log_shares: Tensor, trend: Tensor) -> None:
        """Set the log-shares ``[r]`` and the trend ``[r]`` of the scanned rows."""
        self._alone[0, : self.rows.size] = log_shares
        self._alone[2, : self.rows.size] = trend

    def search(self, recommender: Recommender, asked: Queries, items: Rows, count: int) -> ScanResult:
        """Find the `count` best rows of m targets; fewer if fewer are scanned.

        Args:
            recommender: scores users against the table.
            asked: of the targets.
            items: the table.
            count: number of rows.
        """
        m = len(asked.users)
        if self.rows.size <= count:
            return every_row(self.rows, asked.users)
        queries, alone = self._queries(recommender, asked)
        codes, scales = _rounded_queries(queries)
        error = self._most_error(queries, queries - codes * scales, alone)[:m]
        rows, bounds = [], []
        for start in range(0, m, BLOCK):
            block, own = slice(start, start + BLOCK), slice(start, min(start + BLOCK, m))
            scores = self._scores(codes[block], alone[block] / scales[block])
            left_out = self._add_likeness(scores, scales[own], asked.at(own), items)
            best, slots = best_of(scores[: len(scales[own])], count)
            rows.append(self.rows[slots.cpu().numpy()])
            bounds.append(best.amin(dim=1) * scales[own, 0] + left_out)
        return ScanResult(np.concatenate(rows), torch.cat(bounds) + error)

    def _add_likeness(self, scores: Tensor, scales: Tensor, asked: Queries, items: Rows) -> Tensor | float:
        """Add the likeness of texts to the scores ``[m + padding, r]`` of m targets, in units of `scales`
        ``[m, 1]``.

        Returns:
            ``[m]`` what it adds to no row to which it was not added, not in these units.
        """
        if self._alike is None:
            return 0.0
        self._slots = reaching(self._slots, len(items.bias), NOWHERE)  # a View has rows that no update named
        weights = asked.weights[:, ALIKE]
        found = self._alike.find(asked.latest, items, self.rows, self._slots)
        likeness = torch.zeros_like(scores[: len(weights)])
        likeness.scatter_reduce_(1, found.slots, found.likeness, "amax")
        scores[: len(weights)].addcmul_(likeness, weights.unsqueeze(1) / scales)
        return weights * found.left_out

    def _scores(self, codes: Tensor, alone: Tensor) -> Tensor:
        """Score the scanned rows and those that fill the last group, in units of the queries' scales."""
        scores = alone @ self._alone[:, : in_groups(self.rows.size)]
        width = self._residual.codes.shape[1]
        self._residual.add_products(scores, codes[:, :width])
        if self._content is not None:
            self._content.add_products(scores, codes[:, width:])
        scores[:, self.rows.size :] = -torch.inf
        return scores

    def _most_error(self, queries: Tensor, errors: Tensor, alone: Tensor) -> Tensor:
        """Return how far a score of a scanned row may be off: ``[m]``; see `RoundedVectors.most_error`."""
        count, width = self.rows.size, self._residual.codes.shape[1]
        error = ROUNDING * (alone.abs() @ self._alone[:, :count].abs().amax(dim=1))
        parts = (self._residual, slice(0, width)), (self._content, slice(width, None))
        for vectors, own in parts:
            if vectors is not None:
                error += vectors.most_error(queries[:, own].norm(dim=1), errors[:, own].norm(dim=1), count)
        return error

    def _queries(self, recommender: Recommender, asked: Queries) -> tuple[Tensor, Tensor]:
        """Return what vectors are multiplied with, and what ``[m, ALONE]`` log shares, biases and trends are.

        Both are padded to a number of targets that recurs.
        """
        of_residual = recommender.of_residual(asked.users)
        model, popularity, bias, trend = asked.weights[:, [MODEL, POPULARITY, BIAS, TREND]].T.unsqueeze(2)
        parts = [model * of_residual]
        if self.has_content:
            parts.append(model * recommender.of_content(of_residual))
        padding = 0, 0, 0, kernel_size(len(asked.users)) - len(asked.users)
        alone = torch.cat([popularity, model + BIAS_SCALE * bias, trend], dim=1)
        return pad(torch.cat(parts, dim=1), padding), pad(alone, padding)


def _rounded_queries(queries: Tensor) -> tuple[Tensor, Tensor]:
    """Round queries ``[m, d]`` to codes and scales ``[m, 1]``.

    Next to nothing, as of a model without a weight, becomes zero: popularity in units of its scale would
    have no bound.
    """
    codes, scales = rounded(queries, LARGEST_CODE)
    is_nothing = scales < LEAST_SCALE
    return codes.masked_fill_(is_nothing, 0), scales.masked_fill_(is_nothing, 1)
