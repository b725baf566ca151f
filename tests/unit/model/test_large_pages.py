"""Large pages are those that arrays fill to a half; what moves there stays as it is."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from pipeline.model.large_pages import LARGE, large_pages, use_large_pages

KB = 1 << 10


@pytest.mark.parametrize(
    ("spans", "pages"),
    [
        ([], []),
        ([(5 * LARGE, LARGE)], [5]),
        ([(5 * LARGE + LARGE // 2, LARGE)], [5, 6]),
        ([(5 * LARGE + LARGE // 2 + 1, LARGE)], [6]),
        ([(5 * LARGE, 700 * KB)], []),
        ([(5 * LARGE + 900 * KB, 700 * KB), (5 * LARGE, 700 * KB)], [5]),
        ([(9 * LARGE, LARGE), (2 * LARGE + 1, 3 * LARGE)], [2, 3, 4, 9]),
        ([(number * LARGE, 1_000 * KB) for number in range(4)], []),
        ([(1 << 46, LARGE), (LARGE, LARGE)], [1, (1 << 46) // LARGE]),
    ],
)
def test_pages_that_are_half_full_are_large(spans: list[tuple[int, int]], pages: list[int]) -> None:
    addresses, sizes = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    assert (large_pages(addresses, sizes) // LARGE).tolist() == pages


def test_what_moves_to_large_pages_stays_as_it_is() -> None:
    values = np.frombuffer(mmap.mmap(-1, 4 * LARGE), dtype=np.int64)
    values[:] = np.arange(values.size)
    use_large_pages(np.array([values.ctypes.data]), np.array([values.nbytes]))
    assert np.array_equal(values, np.arange(values.size))
