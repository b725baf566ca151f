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


def check_values(manifest: Manifest, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Check the tensors of one file; their shapes are as the manifest says.

    Raises:
        ValueError: names the tensor.
    """
    largest = torch.finfo(torch.float64).max if name == COUNTS else LARGEST_WEIGHT
    for tensor, values in tensors.items():
        if values.is_floating_point():
            check_finite(tensor, values, largest)
    if name == COUNTS:
        _check_counts(tensors, manifest.rows)
    elif name == ITEMS and manifest.kind == "delta":
        for rows in ("changed", CONTENT_ROWS):
            _check_rows(rows, tensors[rows], manifest.rows)


def check_finite(name: str, values: Tensor, largest: float = torch.finfo(torch.float64).max) -> None:
    """Refuse values that are not finite, or beyond ±`largest`; one pass, without a copy.

    Raises:
        ValueError: there is one.
    """
    if not values.numel():
        return
    low, high = torch.aminmax(values)  # of NaN, both are NaN and no comparison holds
    if not (-largest <= float(low) and float(high) <= largest):
        raise ValueError(f"{name} is not finite, or larger than any weight")


def check_matrix(name: str, tensors: Mapping[str, Tensor], rows: int) -> None:
    """Check that three tensors are a sparse matrix ``[rows, rows]`` of counts.

    Raises:
        ValueError: they are none.
    """
    data, indices, indptr = (tensors[f"{name}.{part}"].numpy() for part in ("data", "indices", "indptr"))
    ends = indptr.size == rows + 1 and indptr[0] == 0 and indptr[-1] == data.size == indices.size
    if not ends or (np.diff(indptr) < 0).any() or not _within(indices, rows):
        raise ValueError(f"{name} is no sparse matrix")


def _check_counts(tensors: Mapping[str, Tensor], rows: int) -> None:
    for level in ("base", "recent"):
        if f"{level}.data" in tensors:
            check_matrix(level, tensors, rows)
    if not float(tensors["scale"]) > 0:
        raise ValueError("scale is not positive")


def _check_rows(name: str, rows: Tensor, size: int) -> None:
    """Check row numbers: within the table, and ascending, so that none occurs twice."""
    numbers: NDArray[np.int64] = rows.numpy()
    if not _within(numbers, size) or (np.diff(numbers) <= 0).any():
        raise ValueError(f"{name} are no rows of the table")


def _within(indices: NDArray[np.int64], size: int) -> bool:
    return not indices.size or bool(indices.min() >= 0 and indices.max() < size)
