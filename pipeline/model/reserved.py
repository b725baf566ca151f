"""Zeros that take memory only where something is written: a table can reserve room for all that may come."""

from __future__ import annotations

import mmap
import sys

import numpy as np
import torch
from torch import Tensor

MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0x40)
"""Python names it since 3.13; elsewhere it is 0x40."""


def reserved_zeros(*shape: int, dtype: torch.dtype = torch.float32, is_filled: bool = False) -> Tensor:
    """Return zeros of a shape, on the CPU; a page is taken when it is first written.

    Args:
        shape, dtype: as of any tensor.
        is_filled: whether it will be written from the beginning on, without gaps: then pages are large, if
            the system has such.
    """
    count = int(np.prod(shape, dtype=np.int64))
    size = dtype.itemsize * count
    if not size:
        return torch.zeros(shape, dtype=dtype)
    mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Where only some rows are written, one of 1.5 kB would take 2 MB.
        mapped.madvise(mmap.MADV_HUGEPAGE if is_filled else mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(mapped, dtype=dtype, count=count).view(shape)
