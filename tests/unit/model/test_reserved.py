"""Reserved zeros are zeros that can be written, and take memory only where they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from pipeline.model.reserved import reserved_zeros

PAGES_OF_ROW = 2
"""A row of 384 numbers lies in two pages at most."""


def resident() -> int:
    """Pages of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.parametrize("is_filled", [False, True])
@pytest.mark.parametrize("shape", [(0,), (0, 8), (3,), (5, 7)])
def test_they_are_zeros_of_the_shape(shape: tuple[int, ...], is_filled: bool) -> None:
    zeros = reserved_zeros(*shape, is_filled=is_filled)
    assert torch.equal(zeros, torch.zeros(shape))
    zeros += 1
    assert torch.equal(zeros, torch.ones(shape))


def test_they_outlive_what_made_them() -> None:
    views = [reserved_zeros(100, 100)[number] for number in range(50)]
    views[7].fill_(3)
    assert [float(view.sum()) for view in views] == [0.0] * 7 + [300.0] + [0.0] * 42


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_only_what_is_written_takes_memory() -> None:
    table = reserved_zeros(1 << 20, 384)  # 1.5 GiB
    before = resident()
    written = torch.arange(0, 1 << 20, 1 << 12)
    table[written] = 1.0
    assert resident() - before <= 2 * PAGES_OF_ROW * written.numel()
