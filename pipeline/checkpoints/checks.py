"""Checks of a checkpoint's contents before a learner is put into it: what digests cannot prove.

A value out of range would not end the restoring, but the learning some batches later, and again
after each start.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from torch import Tensor

from pipeline.events import Attributes, Id, Item
from pipeline.model.tensors import under
from pipeline.snapshots.values import LARGEST_COUNT, LARGEST_WEIGHT, check_range
from pipeline.state.catalogue import Catalogue
from pipeline.state.counts import is_pairs
from pipeline.state.histories import History
from pipeline.state.segments import COLUMNS, GAP_BUCKETS, TYPES, VALUE_BUCKETS

GROWING = re.compile(r"(step|exp_avg_sq)\..*|mixer\.(square|taken)|.*_squares")
"""Tensors that grow with the steps taken, and are never negative.

Sums of squared gradients have no other bound: that of an item without any vector was 1e32.
"""
LARGEST_SUM = torch.finfo(torch.float32).max
COUNT_TYPES = {
    "lengths": torch.int64,
    "popularity": torch.float64,
    "acts": torch.int64,
    "columns": torch.int32,
    "values": torch.float64,
    "scanned": torch.int64,
    "scale": torch.float64,
    "popularity_scale": torch.float64,
    "events": torch.int64,
}
"""Number types of the counts."""
PER_ITEM = tuple(COUNT_TYPES)[:3]
"""They have one value per catalogue row; the next two have one per pair of items, `scanned` one per item that
is scanned, and the others one in all."""
PER_ROW = tuple(COUNT_TYPES)[:6]
LARGEST_ACT = 16.0
"""The largest weight of an act that the settings allow."""
REPLAY_TYPES = {"weights": np.float64, "wanted": np.bool_}
"""Types of the columns that are not whole numbers."""
PARTITION_FILE = re.compile(r"(histories|seen)-([0-9]+)\..*")

Entries = list[tuple[Id, Item | None]]
_ENTRIES = TypeAdapter(Entries)
_PROFILE = TypeAdapter(tuple[Annotated[int, Field(ge=0, lt=2**63)], Attributes])


def check_files(names: Collection[str]) -> None:
    """Check that there are histories and seen events of each partition, from the first on.

    Raises:
        ValueError: a file is missing.
    """
    found = [match for name in names if (match := PARTITION_FILE.fullmatch(name))]
    for kind in ("histories", "seen"):
        numbers = sorted(int(match[2]) for match in found if match[1] == kind)
        if numbers != list(range(len(found) // 2)):
            raise ValueError(f"it has the {kind} of the partitions {numbers[:8]}")


def check_numbers(file: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse values that are not finite or out of range: they would be learned from, and served.

    Raises:
        ValueError: names file and tensor.
    """
    for name, values in tensors.items():
        if values.is_floating_point():
            grows = GROWING.fullmatch(name) is not None
            least, largest = (0.0, LARGEST_SUM) if grows else (-LARGEST_WEIGHT, LARGEST_WEIGHT)
            check_range(f"{file}: {name}", values, least, largest)


def check_stream(items: int, table: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> None:
    """Check item table and counts: they have a row for each item of the catalogue, with possible values.

    Raises:
        ValueError: names what does not.
    """
    for name, values in [*table.items(), *((name, counts[name]) for name in PER_ITEM)]:
        if values.shape[0] != items:
            raise ValueError(f"{name} has {values.shape[0]} rows for {items} items")
    for name, dtype in COUNT_TYPES.items():
        if counts[name].dtype != dtype or counts[name].dim() != (name in PER_ROW):
            raise ValueError(f"{name} has another form than counts")
    for name, scale in ("popularity", "popularity_scale"), ("values", "scale"):
        if not 0 < float(counts[scale]) <= 1:
            raise ValueError(f"{scale} is not between 0 and 1")
        check_range(name, counts[name], 0, LARGEST_COUNT / float(counts[scale]))
    for name in ("acts", "events"):
        check_range(name, counts[name], 0, LARGEST_COUNT)
    _check_scanned(counts["scanned"], items)
    _check_latest(under("latest.", counts), items)
    lengths, columns = counts["lengths"].numpy(), counts["columns"].numpy()
    if not is_pairs(lengths, columns) or columns.size != counts["values"].numel():
        raise ValueError("the rows of pair counts are none")


def _check_latest(latest: Mapping[str, Tensor], items: int) -> None:
    """Check that the window of the trend has acts on rows of the catalogue; an earlier release kept none."""
    if not latest:
        return
    rows, weights = latest["items"], latest["weights"]
    if (rows.dtype, weights.dtype) != (torch.int64, torch.float64) or rows.shape != weights.shape:
        raise ValueError("the latest acts have another form than acts")
    check_range("latest.items", rows, 0, items - 1)
    check_range("latest.weights", weights, -LARGEST_ACT, LARGEST_ACT)


def _check_scanned(rows: Tensor, items: int) -> None:
    """Check that the scanned rows are distinct rows of the catalogue."""
    check_range("scanned", rows, 0, items - 1)
    if np.unique(rows.numpy()).size != rows.numel():
        raise ValueError("a row is scanned twice")


def read_entries(content: bytes) -> Entries:
    """Read the catalogue's items with their entries, in the order of rows.

    Raises:
        ValueError: it is none, or holds an item twice.
    """
    entries = _ENTRIES.validate_json(content)
    if len({item for item, _ in entries}) != len(entries):
        raise ValueError("the catalogue holds an item twice")
    if any(entry is not None and entry.item != item for item, entry in entries):
        raise ValueError("the catalogue holds an item under the name of another")
    return entries


def read_profiles(content: bytes) -> dict[int, Attributes]:
    """Read the attributes of users by digest, a line each.

    Raises:
        ValueError: a line is none, or a user has two.
    """
    found = [_PROFILE.validate_json(line) for line in content.splitlines()]
    if len(dict(found)) != len(found):
        raise ValueError("a user is there twice")
    return dict(found)


def check_distinct(digests: Collection[int]) -> None:
    """Check that no event was seen twice: forgetting the first would fail at the second.

    Raises:
        ValueError: one was.
    """
    if len(set(digests)) != len(digests):
        raise ValueError("an event is seen twice")


def check_history(history: History, catalogue: Catalogue) -> None:
    """Check that the acts of a user are acts on items of the catalogue.

    Raises:
        ValueError: one is not.
    """
    if any(act.item not in catalogue for act in history):
        raise ValueError("a history has an item that is not in the catalogue")


def check_replay(replay: Mapping[str, NDArray[Any]], items: int) -> None:
    """Check that the acts of the replay buffer are acts on items of the catalogue.

    Raises:
        ValueError: names what is out of range.
    """
    lengths, acts = replay["lengths"], len(replay["items"])
    firsts, users = replay["first_new"], replay["users"]
    if any(
        replay[name].dtype != REPLAY_TYPES.get(name, np.int64) for name in (*COLUMNS, "lengths", "first_new")
    ):
        raise ValueError("replayed segments have other types of numbers")
    if (lengths < 0).any() or int(lengths.sum()) != acts or {len(firsts), len(users)} != {len(lengths)}:
        raise ValueError("the lengths of replayed segments do not match their acts")
    if not ((firsts >= 0) & (firsts <= lengths)).all() or not 0 <= int(replay["offered"][0]) < 2**62:
        raise ValueError("the new acts of replayed segments are out of range")
    check_range("weights", torch.from_numpy(replay["weights"]), 0, LARGEST_ACT)
    ends = {
        "items": items,
        "types": len(TYPES),
        "values": VALUE_BUCKETS,
        "gaps": GAP_BUCKETS,
        "baskets": 2**62,
    }
    for name, end in ends.items():
        column = replay[name]
        if len(column) != acts or (acts and not 0 <= column.min() <= column.max() < end):
            raise ValueError(f"the {name} of replayed segments are out of range")
