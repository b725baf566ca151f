"""Checks of a checkpoint's contents before a learner is put into it: what digests cannot prove.

A value out of range would not end the restoring, but the learning some batches later, and again
after each start.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.snapshots.values import check_finite, check_matrix
from pipeline.state.segments import GAP_BUCKETS, TYPES, VALUE_BUCKETS

PER_ITEM = ("totals", "popularity", "acts")
"""Counts with one value per catalogue row."""


def check_numbers(file: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse values that are not finite: they would be learned from, and served, sooner or later.

    Raises:
        ValueError: names file and tensor.
    """
    for name, values in tensors.items():
        if values.is_floating_point():
            check_finite(f"{file}: {name}", values)


def check_sizes(items: int, table: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> None:
    """Check that item table and counts have a row for each item of the catalogue.

    Raises:
        ValueError: names what does not.
    """
    for name, values in [*table.items(), *((name, counts[name]) for name in PER_ITEM)]:
        if values.shape[0] != items:
            raise ValueError(f"{name} has {values.shape[0]} rows for {items} items")
    for level in ("base", "recent"):
        check_matrix(level, counts, items)


def check_replay(replay: Mapping[str, NDArray[np.int64]], items: int) -> None:
    """Check that the acts of the replay buffer are acts on items of the catalogue.

    Raises:
        ValueError: names what is out of range.
    """
    lengths, acts = replay["lengths"], len(replay["items"])
    firsts, users = replay["first_new"], replay["users"]
    if (lengths < 0).any() or int(lengths.sum()) != acts or {len(firsts), len(users)} != {len(lengths)}:
        raise ValueError("the lengths of replayed segments do not match their acts")
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
