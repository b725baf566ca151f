"""Where tensors live, how many threads compute on them, and how memory is freed."""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import InvalidSettings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's malloc.h."""
KEPT_BYTES, LARGEST_BYTES = 128 << 20, 32 << 20


def use_device(name: str, threads: int) -> torch.device:
    """The device of a name (``auto``: CUDA where there is one).

    Also sets torch's threads, and how the process frees memory.

    One thread a process is the default: two torch threads on a busy machine of two cores
    were measured 4 to 8 times slower than one.

    Raises:
        InvalidSettings: the device is not there.
    """
    torch.set_num_threads(threads)
    _keep_freed_memory()
    _keep_libraries()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidSettings(
            f"model.device is {name}, but torch finds no CUDA device: set it to auto or cpu"
        )
    return device


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next batch, which takes as much; other libraries are left alone.

    It would give the matrices over the catalogue, some MB each, back to the system and take them
    again several times a batch: measured, 4,600 page faults and a tenth of the time.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)


def _keep_libraries() -> None:
    """Spare the garbage collector, once, what was imported so far; no process frees it before its end.

    It would look through half a million objects of torch and transformers again and again: measured,
    .3 s at a time. At the end they are given back, or extension modules would complain of leaks.
    """
    if gc.get_freeze_count() == 0:
        gc.freeze()
        atexit.register(gc.unfreeze)


@contextmanager
def fast_products() -> Iterator[None]:
    """Leave float32 matrix products on a CPU to oneDNN, by allowing it bfloat16 inside them.

    torch otherwise gives them to MKL, whose kernels on AMD leave half of AVX-512 unused: measured,
    240 instead of 100 GFLOP/s a core. There oneDNN multiplies in float32 all the same; on a CPU
    with matrix units for bfloat16 (AMX) it rounds factors to it, and sums in float32.
    """
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


def recurring(count: int) -> int:
    """A count rounded up to four significant bits, so that the shapes of products come again.

    oneDNN makes a kernel for each new shape, 0.4 ms, and a batch has some sixty products.
    """
    step = 1 << max(0, count.bit_length() - 4)
    return -(-count // step) * step
