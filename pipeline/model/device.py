"""Process-wide settings of computation: device, threads, memory, and precision of products."""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from pipeline.errors import InvalidSettings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt`, from glibc's malloc.h."""
KERNEL_CACHES, KERNELS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"), "32"
"""Of oneDNN, and of torch for the kernels that it has got from oneDNN, each with memory of its own. 32 are
those of some eight batches, whose large products have four shapes each."""
KEPT_BYTES, LARGEST_BYTES = 128 << 20, 32 << 20


def use_device(name: str, threads: int) -> torch.device:
    """Return the device of a name (``auto``: CUDA if available), and configure the process.

    Sets the number of threads of torch, and of NumPy's and SciPy's products, how many kernels oneDNN keeps,
    and how the process frees memory. The default is one thread per process: measured on a busy machine with
    two cores, two torch threads were 4 to 8 times slower than one, and a learner of Thompson sampling, whose
    products are small, took a sixth longer with two threads of NumPy. What products give may depend on their
    number, to the bit.

    Raises:
        InvalidSettings: the device is not available.
    """
    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")
    _bound_kernels()
    _keep_freed_memory()
    _keep_libraries()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0  # it counts what an old driver has
    if device.type == "cuda" and (device.index or 0) >= found:
        amount = f"{found} CUDA devices" if found else "no CUDA device"
        raise InvalidSettings(f"model.device is {name}, but torch finds {amount}: set it to auto or cpu")
    return device


def _bound_kernels() -> None:
    """Let oneDNN and torch keep fewer kernels than 1,024 each, of up to some MB; before the first product.

    They would keep those of shapes that never recur: measured, oneDNN 3 GB with a growing catalogue, torch
    170 MB after 12,000 events of 1,000 items. A value that the environment already has is kept.
    """
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, KERNELS)


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next batch, which needs as much; no effect without glibc.

    By default it returns the matrices over the catalogue, some MB each, to the system and requests
    them again, several times per batch: measured, 4,600 page faults and a tenth of the time.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)


def release_freed_memory() -> None:
    """Return to the system what this process has freed; no effect without glibc.

    Batches of all sizes leave gaps between what lives long: measured, 500 MB after 60,000 events of
    2,000 items, and more with each.
    """
    if sys.platform == "linux" and (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        malloc_trim(0)


@functools.cache  # once: the freeze count would not tell, because Python 3.12 freezes some objects itself
def _keep_libraries() -> None:
    """Exclude the objects of imported libraries from garbage collection, once; they live until exit.

    Each full collection would visit half a million objects of torch and transformers: measured,
    .3 s each. The exclusion ends at exit, because extension modules would otherwise report leaks.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)


@contextmanager
def fast_products() -> Iterator[None]:
    """Use oneDNN for large float32 matrix products on a CPU, where it makes them in float32.

    torch otherwise uses MKL, whose kernels leave half of AVX-512 unused on AMD: measured, 240
    instead of 100 GFLOP/s per core, on Zen 4 a tenth more. torch asks oneDNN only if it may round factors to
    bfloat16, which it does on a CPU with matrix units for that (AMX). There it is not asked: figures of the
    learner would differ from those of servers, by .002 nats.

    Small products are left to MKL. For each new shape oneDNN makes a kernel in .25 ms: with it for all
    products a batch of DIGINETICA made 49 of them, and took a seventh longer.
    """
    if _rounds():
        yield
        return
    with _onednn():
        yield


@functools.cache
def _rounds() -> bool:
    """Whether oneDNN rounds the factors of a product that is large enough for it."""
    factors = torch.full((128, 128), 1 + 2**-12)
    with _onednn():
        return not torch.equal(factors @ torch.eye(128), factors)


@contextmanager
def _onednn() -> Iterator[None]:
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


def padded(numbers: Tensor) -> Tensor:
    """Pad ``[m]`` with zeros to a `recurring` size."""
    return torch.nn.functional.pad(numbers, (0, recurring(numbers.numel()) - numbers.numel()))


def recurring(count: int) -> int:
    """Round a count up to four significant bits, so that the shapes of products recur.

    See `fast_products` for what a new shape costs.
    """
    step = 1 << max(0, count.bit_length() - 4)
    return -(-count // step) * step
