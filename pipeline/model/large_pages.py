"""Large pages for arrays that are read at random places.

A look-up among hundreds of MB in pages of 4 kB finds neither its place nor its page in a cache of the
processor. One page of 2 MB stands for 512 of them.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np
from numpy.typing import NDArray

from pipeline.state.counts import spans
from pipeline.state.growing import distinct

LARGE = 2 << 20
"""Bytes of a large page where pages have 4 kB."""
MADV_COLLAPSE = 25
"""Since Linux 6.1; Python does not name it."""


def use_large_pages(addresses: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
    """Move memory of this process to large pages, where these spans ``[k]`` of some bytes fill half of one.

    What it holds stays as it is. No effect where the system has no large pages, or none left.
    """
    if sys.platform == "linux" and (madvise := getattr(ctypes.CDLL(None), "madvise", None)):
        for page in large_pages(addresses, sizes).tolist():
            madvise(ctypes.c_void_p(page), ctypes.c_size_t(LARGE), MADV_COLLAPSE)


def large_pages(addresses: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the addresses of the large pages of which half is in spans ``[k]`` that do not overlap."""
    order = np.argsort(addresses)
    starts, sizes = addresses[order], sizes[order]
    first = starts // LARGE
    pages = LARGE * distinct(spans(first, (starts + sizes + LARGE - 1) // LARGE - first))
    return pages[_covered(starts, sizes, pages + LARGE) - _covered(starts, sizes, pages) >= LARGE // 2]


def _covered(
    starts: NDArray[np.int64], sizes: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many bytes of ascending spans ``[k]`` are before each of some addresses."""
    before = np.searchsorted(starts, ends)  # spans that begin there
    whole = np.append(0, sizes.cumsum())
    last = np.maximum(before - 1, 0)
    beyond = np.maximum(starts[last] + sizes[last] - ends, 0)
    covered: NDArray[np.int64] = np.where(before > 0, whole[before] - beyond, 0)
    return covered
