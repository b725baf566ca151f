"""Columns as they were at one moment, without a copy: what changes later is kept first (copy on write).

A checkpoint of a million items would otherwise copy 3 GB while the learner waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AT_ONCE = 16_384
"""Rows that are read at a time: 25 MB of width 384."""


class _Kept(NamedTuple):
    """Values that rows ``[k]`` had before they changed; a row may recur."""

    rows: NDArray[np.int64]
    values: Tensor


class ColumnForm(NamedTuple):
    """Shape and number type of a column."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class CapturedColumns(Mapping[str, Tensor]):
    """Columns ``[n, ...]`` by name. One thread changes them, another may read them meanwhile."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self._columns = dict(columns)
        self._kept: dict[str, list[_Kept]] = {name: [] for name in columns}
        self._is_kept = {name: np.zeros(len(column), dtype=np.bool_) for name, column in columns.items()}

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __getitem__(self, name: str) -> Tensor:
        """Return a copy of a column, on the CPU."""
        return torch.cat([*self.parts(name)])

    def form(self, name: str) -> ColumnForm:
        """Return shape and number type of a column."""
        column = self._columns[name]
        return ColumnForm(tuple(column.shape), column.dtype)

    def keep(self, name: str, rows: NDArray[np.int64]) -> None:
        """Keep what rows have, as far as they were captured; call it before they change."""
        is_kept, column = self._is_kept[name], self._columns[name]
        captured = rows[rows < len(column)]
        new = captured[~is_kept[captured]]
        if new.size:
            is_kept[new] = True
            values = column[torch.from_numpy(new).to(column.device)].cpu()
            self._kept[name].append(_Kept(new, values))

    def parts(self, name: str) -> Iterator[Tensor]:
        """Yield copies of a column's rows, some at a time, on the CPU; one at least."""
        column = self._columns[name]
        for start in range(0, max(1, len(column)), AT_ONCE):
            part = column[start : start + AT_ONCE].to("cpu", copy=True)
            # Only now: a row that changed during the copy was kept before.
            for rows, values in tuple(self._kept[name]):
                inside = (rows >= start) & (rows < start + len(part))
                part[torch.from_numpy(rows[inside] - start)] = values[torch.from_numpy(inside)]
            yield part
