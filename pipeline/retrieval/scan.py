"""The scan: the best of a bounded number of items by the part of the mixture that every item has.

For a target, model, popularity and bias are one product: of the query ``[w·σu, w·σq̃, w', w + 10·w'']`` with
an item's ``[e, t, log share, b]``, where q̃ = (I + BA)ᵀu folds the adapter in. Vectors are rounded to 7 bits a
number, and their products are exact; what is found is scored again in float32. Measured on one core of an AMD
EPYC, 16,384 rows of width 768: 32 queries take 4.7 ms where bfloat16 took 7.3, eight 2.5 for 4.2, one 1.3 for
2.6, and the memory that they read is half.

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
from pipeline.model.mixer import BIAS_SCALE, FEATURES
from pipeline.model.recommender import Recommender

GROUP = 32
"""Rows of which only the best is looked at first: the best 100 of 43,000 are found in 14 instead of 20 ms."""
LARGEST_CODE = 63
"""Of 7 bits: products of 8 overflow on processors that sum pairs of them in 16 (AVX2 without VNNI)."""
LEAST_ROWS = 2_048
"""Rows from which on oneDNN multiplies whole numbers."""
TOGETHER = 8
LEAST_SCALE = 1e-9
"""Of a query; what is left out counts as an error."""
MODEL, POPULARITY, BIAS = (FEATURES.index(name) for name in ("model", "popularity", "bias"))
NOWHERE = -1
GROWTH = 1.5
BLOCK = 64
"""Targets whose scores are computed and searched at a time, in the processor's cache."""
ROUNDING = 2.0**-20
"""Relative error of the sums in float32."""
NO_ROWS = np.zeros(0, dtype=np.int64)


class ScanResult(NamedTuple):
    """The best rows ``[m, k]`` of m targets, in no order; ``[m]`` what no other scanned row exceeds."""

    rows: NDArray[np.int64]
    bound: Tensor


def every_row(rows: NDArray[np.int64], users: Tensor) -> ScanResult:
    """Return all rows ``[r]`` for m users ``[m, d]``: what is found where no more are scanned than wanted."""
    every = np.broadcast_to(rows, (len(users), rows.size))
    return ScanResult(every, users.new_full((len(users),), -torch.inf))


class _Rounded:
    """Vectors by slot, rounded to codes with one scale each."""

    def __init__(self, width: int, device: torch.device) -> None:
        self.codes = torch.zeros(0, width, dtype=torch.int8, device=device)
        self._scales = torch.zeros(0, device=device)
        self._lengths, self._errors = torch.zeros(2, 0, device=device)

    def grow(self, room: int) -> None:
        """Have room for so many slots; new ones are zero."""
        more = room - len(self.codes)
        self.codes = pad(self.codes, (0, 0, 0, more))
        columns = self._scales, self._lengths, self._errors
        self._scales, self._lengths, self._errors = (pad(column, (0, more)) for column in columns)

    def put(self, where: Tensor, vectors: Tensor) -> None:
        """Round vectors ``[s, d]`` and keep them at slots ``[s]``."""
        codes, scales = rounded(vectors, LARGEST_CODE)
        near = codes * scales
        self.codes[where], self._scales[where] = codes, scales[:, 0]
        self._lengths[where], self._errors[where] = near.norm(dim=1), (vectors - near).norm(dim=1)

    def add_products(self, scores: Tensor, codes: Tensor) -> None:
        """Add the products of rounded queries ``[m, d]`` with the first r slots to scores ``[m, r]``."""
        count = scores.shape[1]
        scores.addcmul_(_products(codes, self.codes[:count]), self._scales[:count])

    def most_error(self, queries: Tensor, errors: Tensor, count: int) -> Tensor:
        """Return how far products of the first `count` slots may be off: ``[m]``.

        Args:
            queries: ``[m, d]`` before they were rounded.
            errors: ``[m, d]`` what rounding them left out.
            count: number of slots.
        """
        of_query = errors.norm(dim=1) * self._lengths[:count].max()
        lengths = queries.norm(dim=1)
        error: Tensor = of_query + lengths * (
            self._errors[:count].max() + ROUNDING * self._lengths[:count].max()
        )
        return error


class Scan:
    """Copies of some rows of an item table.

    Attributes:
        rows: ``[r]`` the catalogue rows that are scanned, in the order of their slots.
    """

    def __init__(self) -> None:
        self.rows = NO_ROWS
        self._slots = np.zeros(0, dtype=np.int64)
        self._residual = _Rounded(0, torch.device("cpu"))
        self._content: _Rounded | None = None
        self._alone = torch.zeros(2, 0)

    def choose(self, rows: NDArray[np.int64], table: Rows, has_content: bool) -> None:
        """Scan the given distinct rows ``[r]`` of a table ``[n]`` from now on, by slot, and no others.

        Rows that had their slots before are not copied again: `refresh` those that have changed.
        """
        self._make_room(rows.size, table, has_content)
        known = min(rows.size, self.rows.size)
        is_other = rows[:known] != self.rows[:known]
        self._slots = _reaching(self._slots, len(table.bias))
        self._slots[self.rows] = NOWHERE
        self._slots[rows] = np.arange(rows.size)
        self.rows = rows
        self._copy(np.concatenate([rows[:known][is_other], rows[known:]]), table, has_content)

    def _make_room(self, count: int, table: Rows, has_content: bool) -> None:
        """Make room for `count` rows; those that are scanned stay if they are of the same width."""
        widths = table.residual.shape[1], table.content.shape[1] if has_content else 0
        device = table.residual.device
        before = self._residual.codes.shape[1], self._content.codes.shape[1] if self._content else 0
        if before != widths or self._alone.device != device:
            self._slots[self.rows], self.rows = NOWHERE, NO_ROWS
            self._residual = _Rounded(widths[0], device)
            self._content = _Rounded(widths[1], device) if has_content else None
            self._alone = torch.zeros(2, 0, device=device)
        room = self._alone.shape[1]
        if count > room:
            more = -(-max(count, int(GROWTH * room)) // GROUP) * GROUP
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
        self._slots = _reaching(self._slots, len(table.bias))
        self._copy(learned, table, has_content=False)
        if self.has_content:
            self._copy_content(encoded, table)

    def _copy(self, rows: NDArray[np.int64], table: Rows, has_content: bool) -> None:
        """Copy residual and bias of rows as far as they are scanned, and their content."""
        where, at = self._scanned(rows, table)
        self._residual.put(where, table.residual.index_select(0, at))
        self._alone[1, where] = table.bias.index_select(0, at)
        if has_content:
            self._copy_content(rows, table)

    def _copy_content(self, rows: NDArray[np.int64], table: Rows) -> None:
        assert self._content is not None
        where, at = self._scanned(rows, table)
        self._content.put(where, table.content.index_select(0, at).float())

    def _scanned(self, rows: NDArray[np.int64], table: Rows) -> tuple[Tensor, Tensor]:
        """Return the slots of those of some rows that are scanned, and these rows."""
        slots = self._slots[rows]
        is_scanned = slots != NOWHERE
        where, at = (torch.from_numpy(found[is_scanned]).to(table.bias.device) for found in (slots, rows))
        return where, at

    @property
    def has_content(self) -> bool:
        """Whether content is scanned, too; nothing has any in a catalogue without texts."""
        return self._content is not None

    def set_popularity(self, log_shares: Tensor) -> None:
        """Set the log-shares ``[r]`` of the scanned rows."""
        self._alone[0, : self.rows.size] = log_shares

    def search(self, recommender: Recommender, users: Tensor, weights: Tensor, count: int) -> ScanResult:
        """Find the `count` best rows of m targets.

        Args:
            recommender: scores users against the table.
            users: ``[m, d]`` user vectors.
            weights: ``[m, features]`` the mixer's weights.
            count: number of rows; fewer if fewer are scanned.
        """
        if self.rows.size <= count:
            return every_row(self.rows, users)
        queries, alone = self._queries(recommender, users, weights)
        codes, scales = _rounded_queries(queries)
        blocks = zip(torch.split(codes, BLOCK), torch.split(alone / scales, BLOCK), strict=True)
        found = [best_of(self._scores(*block), count) for block in blocks]
        best, slots = (torch.cat(parts)[: len(users)] for parts in zip(*found, strict=True))
        error = self._most_error(queries, queries - codes * scales, alone)[: len(users)]
        least = best.amin(dim=1) * scales[: len(users), 0]
        return ScanResult(self.rows[slots.cpu().numpy()], least + error)

    def _scores(self, codes: Tensor, alone: Tensor) -> Tensor:
        """Score the scanned rows and those that fill the last group, in units of the queries' scales."""
        scores = alone @ self._alone[:, : -(-self.rows.size // GROUP) * GROUP]
        width = self._residual.codes.shape[1]
        self._residual.add_products(scores, codes[:, :width])
        if self._content is not None:
            self._content.add_products(scores, codes[:, width:])
        scores[:, self.rows.size :] = -torch.inf
        return scores

    def _most_error(self, queries: Tensor, errors: Tensor, alone: Tensor) -> Tensor:
        """Return how far a score of a scanned row may be off: ``[m]``; see `_Rounded.most_error`."""
        count, width = self.rows.size, self._residual.codes.shape[1]
        error = ROUNDING * (alone.abs() @ self._alone[:, :count].abs().amax(dim=1))
        error += self._residual.most_error(queries[:, :width], errors[:, :width], count)
        if self._content is not None:
            error += self._content.most_error(queries[:, width:], errors[:, width:], count)
        return error

    def _queries(self, recommender: Recommender, users: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return what vectors are multiplied with, and what ``[m, 2]`` log shares and biases are.

        Both are padded to a number of targets that recurs.
        """
        of_content, of_residual = recommender.queries(users)
        model, popularity, bias = weights[:, [MODEL, POPULARITY, BIAS]].T.unsqueeze(2)
        parts = [model * of_residual, *([model * of_content] if self.has_content else [])]
        padding = 0, 0, 0, _kernel_size(len(users)) - len(users)
        alone = torch.cat([popularity, model + BIAS_SCALE * bias], dim=1)
        return pad(torch.cat(parts, dim=1), padding), pad(alone, padding)


def _rounded_queries(queries: Tensor) -> tuple[Tensor, Tensor]:
    """Round queries ``[m, d]`` to codes and scales ``[m, 1]``.

    Next to nothing, as of a model without a weight, becomes zero: popularity in units of its scale would
    have no bound.
    """
    codes, scales = rounded(queries, LARGEST_CODE)
    is_nothing = scales < LEAST_SCALE
    return codes.masked_fill_(is_nothing, 0), scales.masked_fill_(is_nothing, 1)


def _kernel_size(count: int) -> int:
    """Return to how many queries some are padded, so that few kernels do: one, or multiples of `TOGETHER`."""
    return count if count <= 1 else -(-count // TOGETHER) * TOGETHER


def _products(codes: Tensor, others: Tensor) -> Tensor:
    """Multiply codes ``[m, d]`` with others ``[r, d]``: ``[m, r]``, exact on any device."""
    # CUDA has products of whole numbers for some shapes only, and few rows are not worth a kernel of oneDNN,
    # which takes a ms to make for each shape. A float32 holds these sums.
    if codes.is_cuda or len(others) < LEAST_ROWS:
        return codes.float() @ others.float().T
    return torch._int_mm(codes, others.T).float()


def best_of(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return values and columns ``[m, k]`` of the highest of scores ``[m, r]``, r a multiple of `GROUP`.

    The best of all are among the groups with the highest maxima.
    """
    groups = min(count, scores.shape[1] // GROUP)
    maxima = scores.view(len(scores), -1, GROUP).amax(-1)
    first = GROUP * maxima.topk(groups, dim=1, sorted=False).indices
    columns = (first.unsqueeze(2) + torch.arange(GROUP, device=scores.device)).flatten(1)
    best = scores.gather(1, columns).topk(min(count, columns.shape[1]), dim=1, sorted=False)
    return best.values, columns.gather(1, best.indices)


def _reaching(slots: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Extend slots to at least `size` rows, with room to spare."""
    if slots.size >= size:
        return slots
    return np.concatenate([slots, np.full(max(size, 2 * slots.size) - slots.size, NOWHERE)])
