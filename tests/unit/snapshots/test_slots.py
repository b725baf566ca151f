"""Slots: rows that were written have their own, in the order of writing; all others share that of zeros."""

from __future__ import annotations

import numpy as np

from pipeline.snapshots.slots import OF_ZEROS, Slots


def test_rows_get_the_next_slots_and_keep_them() -> None:
    slots = Slots()
    slots.grow(6)
    assert slots.given(np.array([1, 4])).tolist() == [1, 2]
    assert slots.given(np.array([0, 4, 5])).tolist() == [3, 2, 4]
    assert slots.by_row.tolist() == [3, 1, OF_ZEROS, OF_ZEROS, 2, 4]
    assert (slots.rows.tolist(), slots.used) == ([0, 1, 4, 5], 5)


def test_views_keep_their_slots_when_rows_are_added() -> None:
    slots = Slots()
    slots.grow(3)
    view = slots.by_row
    slots.reserve(1_000)
    assert view.size == 3 and slots.by_row.size == 3
    slots.grow(1_000)
    assert slots.given(np.array([999])).tolist() == [1]
    assert not view.any()
