"""The vectors and biases of a server's items: those of the snapshot, with newer ones laid over them.

The snapshot's arrays are not copied: only what is asked for is gathered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.encoded_vectors import EncodedVectors
from pipeline.model.item_table import Rows
from pipeline.state.sorted_keys import look_up

NO_ROWS = np.zeros(0, dtype=np.int64)


class Overlay(NamedTuple):
    """Values of some rows ``[k]``, ascending: those at the slots ``[k]`` of a tensor."""

    rows: NDArray[np.int64]
    slots: NDArray[np.int64]
    values: Tensor


@dataclass(frozen=True)
class ColumnOverlay:
    """A column ``[n, ...]`` of items: a base of b rows, zeros beyond it, and values laid over some rows.

    It has of a tensor what gathers rows from one.
    """

    base: Tensor
    size: int
    overlay: Overlay | None = None

    def __len__(self) -> int:
        return self.size

    @property
    def shape(self) -> tuple[int, ...]:
        """As a tensor's."""
        return self.size, *self.base.shape[1:]

    @property
    def device(self) -> torch.device:
        """As a tensor's."""
        return self.base.device

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Gather rows ``[m]`` of the first dimension."""
        assert dim == 0
        return self[rows]

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Gather rows ``[...]``."""
        flat = rows.reshape(-1)
        gathered = self._of_base(flat)
        if self.overlay is not None:
            own = flat.numpy()
            at, found = look_up(self.overlay.rows, own)
            if found.any():
                newer = self.overlay.values[torch.from_numpy(self.overlay.slots[at[found]])]
                gathered[torch.from_numpy(found)] = newer.to(gathered)
        return gathered.view(*rows.shape, *self.base.shape[1:])

    def _of_base(self, rows: Tensor) -> Tensor:
        known = len(self.base)
        if not known:
            return self.base.new_zeros(len(rows), *self.base.shape[1:])
        if self.size <= known:
            return self.base.index_select(0, rows)
        # Five times as fast as an index in brackets.
        gathered = self.base.index_select(0, rows.clamp(max=known - 1))
        beyond = rows >= known
        if beyond.any():
            gathered[beyond] = 0
        return gathered


@dataclass(frozen=True)
class ItemRows:
    """The rows of n items: the snapshot's, new ones, and the content of newer texts."""

    snapshot: Rows
    size: int
    newer: Overlay | None = None

    @cached_property
    def sparse(self) -> Rows:
        """Columns that gather the rows that are asked for."""
        columns = (
            ColumnOverlay(column, self.size, self.newer if column is self.snapshot.content else None)
            for column in self.snapshot
        )
        return Rows(*cast("tuple[Tensor, Tensor, Tensor]", tuple(columns)))

    def are_newer(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """``[m]`` mask of the rows ``[m]`` that are new, or have newer content than the snapshot's."""
        mask: NDArray[np.bool_] = rows >= len(self.snapshot.bias)
        return mask if self.newer is None else mask | look_up(self.newer.rows, rows).is_there

    def at(self, rows: NDArray[np.int64]) -> Rows:
        """Gather rows ``[m]``."""
        return Rows(*(column[torch.from_numpy(rows)] for column in self.sparse))

    @cached_property
    def dense(self) -> Rows:
        """Tensors of all rows; a copy, unless they are the snapshot's and not encoded."""
        columns = Rows(*map(_decoded, self.snapshot))
        if self.newer is None and self.size == len(columns.bias):
            return columns
        extra = self.size - len(columns.bias)
        content, residual, bias = (
            torch.cat([column, column.new_zeros(extra, *column.shape[1:])]) for column in columns
        )
        if self.newer is not None:
            newer = self.newer.values[torch.from_numpy(self.newer.slots)]
            content[torch.from_numpy(self.newer.rows)] = newer.to(content)
        return Rows(content, residual, bias)


def _decoded(column: Tensor) -> Tensor:
    """Return a column as a tensor."""
    return column.float() if isinstance(column, EncodedVectors) else column
