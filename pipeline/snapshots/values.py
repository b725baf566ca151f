"""The values of a snapshot's files, checked as they are read: finite, in range, valid sparse matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from torch import Tensor

from pipeline.events import Id
from pipeline.snapshots.layer import Layer, RowValues, items_in
from pipeline.snapshots.snapshot import Manifest
from pipeline.state.counts import pair_keys

ContentDigest = Annotated[str, Field(pattern=r"^([0-9a-f]{32}|-|)$")]
"""Of an item's text; empty without a text, ``-`` for a removed item."""
ITEMS = TypeAdapter(list[tuple[Id, ContentDigest]])
LARGEST_WEIGHT = 1e6
"""Learned weights stay below ten; the products of larger ones leave float32's range."""
LATEST_ITEMS = "latest.items"
LARGEST_COUNT = 1e15
"""Beyond the acts of any log; sums of so large counts stay far within float32's range."""


def check_learned(tensors: Mapping[str, Tensor], rows: int) -> None:
    """Check learned weights, and the items of the latest counts, which are among so many rows.

    Raises:
        ValueError: names the tensor that is not finite, or out of range.
    """
    for name, values in tensors.items():
        least, largest = (0, rows - 1) if name == LATEST_ITEMS else (-LARGEST_WEIGHT, LARGEST_WEIGHT)
        check_range(name, values, least, largest)


def check_layer(layer: Layer, manifest: Manifest) -> None:
    """Check the values of a layer; their shapes are as the manifest says.

    Raises:
        ValueError: names what is not finite, out of range, or no row of the snapshot.
    """
    for name, found in layer.items():
        _check_rows(name, found, manifest.rows)
    ITEMS.validate_python(items_in(layer["items"]))
    for part in ("content", "centroids", "learned", "rated"):
        for name, values in layer[part].values.items():
            check_range(name, torch.from_numpy(values), -LARGEST_WEIGHT, LARGEST_WEIGHT)
    acts, pairs = (layer[part].values["counts"] for part in ("popularity", "pairs"))
    check_range("acts", torch.from_numpy(acts), 0, LARGEST_COUNT / manifest.popularity_scale)
    check_range("pairs", torch.from_numpy(pairs), 0, LARGEST_COUNT / manifest.pair_scale)
    if layer["centroids"].rows.size and layer["centroids"].rows[-1] >= layer["centroids"].rows.size:
        raise ValueError("centroids are left out")
    for part, name in ("scanned", "items"), ("indexed", "lists"):
        check_range(part, torch.from_numpy(layer[part].values[name]), 0, manifest.rows)
    _check_columns(layer["pairs"], manifest.rows)


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


def _check_rows(name: str, part: RowValues, size: int) -> None:
    """Check row numbers: within the table, and ascending, so that none occurs twice; and their lengths."""
    if not _within(part.rows, size) or (np.diff(part.rows) <= 0).any():
        raise ValueError(f"{name} are no rows of the table")
    if part.lengths is not None:
        values = next(iter(part.values.values()))
        if (part.lengths < 0).any() or int(part.lengths.sum(dtype=np.int64)) != values.size:
            raise ValueError(f"the lengths of {name} do not match their values")


def _check_columns(pairs: RowValues, size: int) -> None:
    """Check the columns of pairs: items of the table, ascending in each row, as lookups need them."""
    assert pairs.lengths is not None
    columns, numbers = pairs.values["columns"], np.repeat(np.arange(pairs.rows.size), pairs.lengths)
    if not _within(columns, size) or (np.diff(pair_keys(numbers, columns.astype(np.int64))) <= 0).any():
        raise ValueError("the columns of pairs are no items of the table, ascending")


def _within(indices: NDArray[np.integer[Any]], size: int) -> bool:
    return not indices.size or bool(indices.min() >= 0 and indices.max() < size)
