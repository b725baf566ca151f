"""The start-up benchmark: what its process holds is what the system says."""

from __future__ import annotations

import mmap

import pytest

from benchmarks.start import held_mib

MIB = 2**20


def test_anonymous_memory_is_counted_once_it_is_touched() -> None:
    resident, anonymous = held_mib()
    with mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        for _ in range(64):
            area.write(bytes(MIB))  # 64 at once may still be held when it is looked at
        more = held_mib()
    assert more[0] - resident == pytest.approx(64, abs=16)
    assert more[1] - anonymous == pytest.approx(64, abs=16)
