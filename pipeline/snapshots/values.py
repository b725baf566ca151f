"""The values of a snapshot's files, checked as they are read: finite, in range, valid sparse matrices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.snapshots.codec import CONTENT_ROWS, COUNTS, ITEMS
from pipeline.snapshots.snapshot import Manifest

LARGEST_WEIGHT = 1e6
"""Learned weights stay below ten; the products of larger ones leave float32's range."""
LARGEST_COUNT = 1e15
"""Beyond the acts of any log; sums of so large counts stay far within float32's range."""


def check_values(manifest: Manifest, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Check the tensors of one file; their shapes are as the manifest says.

    Raises:
        ValueError: names the tensor.
    """
    if name == COUNTS:
        check_counts(tensors, manifest.rows)
        return
    for tensor, values in tensors.items():
        if values.is_floating_point():
            check_range(tensor, values, -LARGEST_WEIGHT, LARGEST_WEIGHT)
    if name == ITEMS and manifest.kind == "delta":
        for rows in ("changed", CONTENT_ROWS):
            _check_rows(rows, tensors[rows], manifest.rows)


def check_counts(tensors: Mapping[str, Tensor], rows: int) -> None:
    """Check popularity and the levels of pair counts; stored pairs are multiplied by the scale.

    Raises:
        ValueError: names the tensor.
    """
    scale = float(tensors["scale"])
    if not 0 < scale <= 1:
        raise ValueError("scale is not between 0 and 1")
    check_range("popularity", tensors["popularity"], 0, LARGEST_COUNT)
    for level in ("base", "recent"):
        if f"{level}.data" in tensors:
            check_range(
                f"{level}.data", tensors[f"{level}.data"], -LARGEST_COUNT / scale, LARGEST_COUNT / scale
            )
            check_matrix(level, tensors, rows)


def check_range(name: str, values: Tensor, least: float, largest: float) -> None:
    """Refuse values that are not finite or out of range; one pass, without a copy.

    Raises:
        ValueError: there is one.
    """
    if not values.numel():
        return
    low, high = torch.aminmax(values)  # of NaN, both are NaN and no comparison holds
    if not (least <= float(low) and float(high) <= largest):
        raise ValueError(f"{name} is not finite, or out of range")


def check_matrix(name: str, tensors: Mapping[str, Tensor], rows: int) -> None:
    """Check that three tensors are a sparse matrix ``[rows, rows]`` of counts.

    Raises:
        ValueError: they are none.
    """
    data, indices, indptr = (tensors[f"{name}.{part}"].numpy() for part in ("data", "indices", "indptr"))
    ends = indptr.size == rows + 1 and indptr[0] == 0 and indptr[-1] == data.size == indices.size
    if not ends or (np.diff(indptr) < 0).any() or not _within(indices, rows):
        raise ValueError(f"{name} is no sparse matrix")


def _check_rows(name: str, rows: Tensor, size: int) -> None:
    """Check row numbers: within the table, and ascending, so that none occurs twice."""
    numbers: NDArray[np.int64] = rows.numpy()
    if not _within(numbers, size) or (np.diff(numbers) <= 0).any():
        raise ValueError(f"{name} are no rows of the table")


def _within(indices: NDArray[np.int64], size: int) -> bool:
    return not indices.size or bool(indices.min() >= 0 and indices.max() < size)
