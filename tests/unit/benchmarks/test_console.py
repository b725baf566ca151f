"""The console's benchmark: every page is measured, and none fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import console


def test_each_page_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACTS", "ALARMS", "LETTERS"):
        monkeypatch.setattr(console, name, 20)
    found = console.measure(tmp_path, items=30, times=2)
    assert found.keys() == console.PAGES.keys()
    assert all(0 < p50 <= p95 for p50, p95 in found.values())
