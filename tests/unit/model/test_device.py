"""Devices, threads and malloc are set deliberately."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys

import pytest
import torch

from pipeline.errors import InvalidSettings
from pipeline.model.device import KERNEL_CACHES, KERNELS, fast_products, recurring, use_device

PROGRAM = """
import resource, torch
from pipeline.model.device import use_device

use_device("cpu", threads=1)
for round in range(205):
    if round == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [torch.ones(1 << 20) for _ in range(4)]
    del kept
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 4 * 4 * (1 << 20) // resource.getpagesize()
"""Pages that one round allocates."""


LIBRARIES = """
import gc
import torch._dynamo
from pipeline.model.device import use_device

before = gc.get_freeze_count()
use_device("cpu", threads=1)
first = gc.get_freeze_count()
made_later = [[] for _ in range(1000)]
use_device("cpu", threads=1)
print(before, first, gc.get_freeze_count() - first)
"""


PRODUCTS = """
import scipy.linalg
from threadpoolctl import threadpool_info
from pipeline.model.device import use_device

def threads():
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}

use_device("cpu", threads=2)
two = threads()
use_device("cpu", threads=1)
print(two, threads())
"""


def test_products_of_numpy_take_as_many_threads_as_those_of_torch() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    finished = subprocess.run(
        [sys.executable, "-c", PRODUCTS], check=True, capture_output=True, text=True, env=environment
    )
    assert finished.stdout.split() == ["{2}", "{1}"]


def test_auto_is_a_device_that_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert use_device("auto", threads=1).type == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="finds no CUDA device"):
        use_device("cuda", threads=1)


def test_a_device_beyond_those_that_are_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert use_device("cuda:0", threads=1).index == 0
    with pytest.raises(
        InvalidSettings, match="cuda:1, but torch finds 1 CUDA devices: set it to auto or cpu"
    ):
        use_device("cuda:1", threads=1)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc's malloc")
def test_freed_memory_is_kept_for_the_next_batch() -> None:
    finished = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert int(finished.stdout) < 2 * PAGES, "200 rounds take their pages once or twice, not 200 times"


def test_libraries_are_excluded_from_garbage_collection_until_exit() -> None:
    finished = subprocess.run([sys.executable, "-c", LIBRARIES], check=True, capture_output=True, text=True)
    before, frozen, frozen_later = map(int, finished.stdout.split())
    assert frozen - before > 100_000
    assert frozen_later == 0, "objects that a caller creates later are still collected"
    assert "leaked" not in finished.stderr, "extension modules are freed at exit, and report no leaks"


@pytest.mark.parametrize(("count", "rounded"), [(0, 0), (15, 15), (17, 18), (33, 36), (530, 576)])
def test_shapes_recur(count: int, rounded: int) -> None:
    assert recurring(count) == rounded


@pytest.mark.parametrize("cache", KERNEL_CACHES)
def test_the_caches_of_kernels_are_bounded_unless_the_environment_bounds_them(
    cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache, "8")
    use_device("cpu", threads=1)
    assert os.environ[cache] == "8"
    monkeypatch.delenv(cache)
    use_device("cpu", threads=1)
    assert os.environ[cache] == KERNELS


def test_fast_products_round_no_factors_on_any_processor() -> None:
    factors = torch.full((256, 256), 1 + 2**-12)  # bfloat16 has 7 bits after the point, TF32 has 10
    with fast_products():
        assert torch.equal(factors @ torch.eye(256), factors)
