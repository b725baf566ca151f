"""The item table: one row per item; a step changes only the rows that a batch touched.

An optimizer over the whole catalogue would change every row in every batch. Row-wise Adagrad (Duchi
et al. 2011; with one accumulator per row as in DLRM, Naumov et al. 2019) costs only the given rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from weakref import ref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import RowRates
from pipeline.model.captured_columns import AT_ONCE, CapturedColumns
from pipeline.model.device import recurring
from pipeline.model.reserved import reserved_zeros
from pipeline.state.growing import ChangedRows

EPSILON = 1e-10
LONGEST = 10.0
"""Length of a row's gradient at most, in medians of the batch. An item without text is a vector of zeros, at
which the norm of the tower's input makes gradients a million times longer: Adagrad would then hardly ever
move that row again."""
GROWTH = 4
RESERVED = 1 << 20
"""Rows for which a CPU reserves addresses, and takes memory as they are written; growing costs nothing."""

LEARNED = "residual", "bias", "residual_squares", "bias_squares"
"""The columns that a step changes."""
FILLED = ("content",)
"""The columns that have a value in nearly every row."""
NO_ROWS = np.zeros(0, dtype=np.int64)


class Rows(NamedTuple):
    """Rows of the table: content ``[n, d + Σk]`` as float16 or float32, residual ``[n, d]``, bias ``[n]``."""

    content: Tensor
    residual: Tensor
    bias: Tensor

    @property
    def text(self) -> Tensor:
        """The content of the text alone, ``[n, d]``; what follows it are vectors of other modalities."""
        return self.content[:, : self.residual.shape[1]]


class ChangedItems(NamedTuple):
    """Rows with new content, and rows whose residual or bias changed, both ascending."""

    content: NDArray[np.int64]
    learned: NDArray[np.int64]


class ItemTable:
    """The frozen content and the learned residual and bias of every catalogue row.

    Content is kept as float16, which has every vector of the text encoder exactly, in half of the memory.

    The columns always have room for a recurring number of rows; those beyond the size are zero.

    Attributes:
        has_content: whether any row was ever given content that is not zero.
    """

    def __init__(self, width: int, device: torch.device, rates: RowRates, content: int | None = None) -> None:
        """Make an empty table.

        Args:
            width: d, of item vectors.
            device: where its columns are.
            rates: of its steps.
            content: d + Σk, numbers of content; None for those of the text alone.
        """
        self._rates = rates
        self._size = 0
        self._new_content, self._learned = ChangedRows(), ChangedRows()
        self.has_content = False
        self._device = device
        self._captures: list[ref[CapturedColumns]] = []
        narrow = {name: self._zeros(0) for name in ("bias", "residual_squares", "bias_squares")}
        self._columns = {
            "content": self._zeros(0, content or width, dtype=torch.float16),
            "residual": self._zeros(0, width),
            **narrow,
        }

    def __len__(self) -> int:
        return self._size

    def grow(self, size: int) -> None:
        """Extend the table to `size` items; new rows are zero."""
        capacity = self._columns["bias"].shape[0]
        if size > capacity:
            least = RESERVED if self._device.type == "cpu" else 0
            self._move(self._columns, recurring(max(size, GROWTH * capacity, least)))
        self._size = size
        for changed in (self._new_content, self._learned):
            changed.grow(size)

    def set_content(self, rows: Tensor, content: Tensor) -> None:
        """Set the content ``[n, d + Σk]`` of rows ``[n]``."""
        self._keep(("content",), rows)
        self._columns["content"][rows] = content.to(self._columns["content"])
        self.has_content |= bool(content.any())
        self._new_content.add(rows.cpu().numpy())

    def take_changed(self) -> ChangedItems:
        """Return the rows that changed since they were last taken."""
        return ChangedItems(self._new_content.take(), self._learned.take())

    def all(self) -> Rows:
        """Return views of all rows, which must not be modified."""
        return Rows(*(self._columns[name][: self._size] for name in Rows._fields))

    def padded(self) -> Rows:
        """Return views of all rows and of some zero rows after them, so that shapes of products recur.

        A catalogue that grows would otherwise give every batch a shape of its own.
        """
        return Rows(*(self._columns[name][: recurring(self._size)] for name in Rows._fields))

    def rows(self, rows: Tensor) -> Rows:
        """Return copies of the given rows ``[n]``; residual and bias require gradients."""
        content, residual, bias = (self._columns[name].index_select(0, rows) for name in Rows._fields)
        return Rows(content.float(), residual.requires_grad_(), bias.requires_grad_())

    def apply(self, rows: Tensor, residual_gradient: Tensor, bias_gradient: Tensor) -> None:
        """Take an Adagrad step on rows ``[n]`` with gradients ``[n, d]`` and ``[n]``.

        A row may be repeated only if all but one of its gradients are zero.

        Residual gradients that are far longer than most of the batch are scaled down.
        """
        columns, rates = self._columns, self._rates
        self._keep(LEARNED, rows)
        residual_gradient = _bounded(residual_gradient)
        columns["residual_squares"].index_add_(0, rows, residual_gradient.square().mean(dim=1))
        columns["bias_squares"].index_add_(0, rows, bias_gradient.square())
        residual_root = columns["residual_squares"][rows].sqrt().unsqueeze(1) + EPSILON
        bias_root = columns["bias_squares"][rows].sqrt() + EPSILON
        columns["residual"].index_add_(0, rows, residual_gradient / residual_root, alpha=-rates.residual)
        columns["bias"].index_add_(0, rows, bias_gradient / bias_root, alpha=-rates.bias)
        self._learned.add(rows.cpu().numpy())

    def state(self) -> dict[str, Tensor]:
        """Return copies of all columns."""
        return {name: column[: self._size].clone() for name, column in self._columns.items()}

    def captured(self) -> CapturedColumns:
        """Return all columns as they are now, for a checkpoint; the rows are copied when they change."""
        captured = CapturedColumns({name: column[: self._size] for name, column in self._columns.items()})
        self._captures = [*(one for one in self._captures if one() is not None), ref(captured)]
        return captured

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore the columns from a checkpoint.

        Raises:
            ValueError: they are of another width.
        """
        for name, column in self._columns.items():
            if state[name].shape[1:] != column.shape[1:]:
                raise ValueError(f"{name} is not as wide as the model's")
        self._size = state["bias"].shape[0]
        self.has_content = bool(state["content"].any())
        self._move(state, max(recurring(self._size), RESERVED if self._device.type == "cpu" else 0))
        self.grow(self._size)

    def _keep(self, names: Iterable[str], rows: Tensor) -> None:
        """Keep what columns have in rows that are about to change, for the captures that are still in use."""
        captures = [captured for one in self._captures if (captured := one()) is not None]
        changed = rows.cpu().numpy() if captures else NO_ROWS
        for captured in captures:
            for name in names:
                captured.keep(name, changed)

    def _move(self, columns: Mapping[str, Tensor], capacity: int) -> None:
        """Copy columns to new ones with room for more rows; rows of zeros take no memory there."""
        for name, before in self._columns.items():
            column = columns[name]
            moved = self._zeros(capacity, *column.shape[1:], dtype=before.dtype, is_filled=name in FILLED)
            for number, part in enumerate(torch.split(column, AT_ONCE)):
                is_set = part.any(dim=1) if part.dim() > 1 else part != 0
                rows = is_set.nonzero().squeeze(1)
                moved[AT_ONCE * number + rows.to(moved.device)] = part[rows].to(moved)
            self._columns[name] = moved

    def _zeros(self, *shape: int, dtype: torch.dtype = torch.float32, is_filled: bool = False) -> Tensor:
        if self._device.type == "cpu":
            return reserved_zeros(*shape, dtype=dtype, is_filled=is_filled)
        return torch.zeros(*shape, dtype=dtype, device=self._device)


def _bounded(gradient: Tensor) -> Tensor:
    """Scale the rows of a gradient ``[n, d]`` down to `LONGEST` times their median length."""
    lengths = gradient.norm(dim=1)
    most = LONGEST * lengths.where(lengths > 0, torch.nan).nanmedian().nan_to_num()
    bounded: Tensor = gradient * (most / lengths.maximum(most).clamp_min(EPSILON)).unsqueeze(1)
    return bounded
