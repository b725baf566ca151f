"""Devices, threads and malloc are set deliberately."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
import torch

from pipeline.errors import InvalidSettings
from pipeline.model.device import recurring, use_device

FAULTS = """
import resource, torch
from pipeline.model.device import use_device

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        kept = [torch.ones(1 << 20) for _ in range(4)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {tuned}:
    use_device("cpu", threads=1)
faults(3)
print(faults(20))
"""


def test_auto_is_a_device_that_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert use_device("auto", threads=1).type == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="finds no CUDA device"):
        use_device("cuda", threads=1)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc's malloc")
def test_freed_memory_is_kept_for_the_next_batch() -> None:
    as_it_comes, kept = (_faults(tuned) for tuned in (False, True))
    assert kept < 100 < as_it_comes


def _faults(tuned: bool) -> int:
    """Page faults of 20 rounds that take and free 16 MB, in a process of their own."""
    program = [sys.executable, "-c", FAULTS.format(tuned=tuned)]
    return int(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(("count", "rounded"), [(0, 0), (15, 15), (17, 18), (33, 36), (530, 576)])
def test_shapes_come_again(count: int, rounded: int) -> None:
    assert recurring(count) == rounded
