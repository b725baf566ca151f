"""Zeros that take memory only where something is written: a table can reserve room for all that may come."""

from __future__ import annotations

import mmap
import sys

import numpy as np
import torch
from torch import Tensor

MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0x40)
"""Python names it since 3.13; elsewhere it is 0x40."""


def reserved_zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return zeros of a shape, on the CPU; a page is taken when it is first written."""
    count = int(np.prod(shape, dtype=np.int64))
    size = dtype.itemsize * count
    if not size:
        return torch.zeros(shape, dtype=dtype)
    mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        mapped.madvise(mmap.MADV_NOHUGEPAGE)  # a row of 1.5 KB would take 2 MB
    return torch.frombuffer(mapped, dtype=dtype, count=count).view(shape)
