"""A rolling restart behind a real proxy fails no request; benchmarks/rolling.py does more of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import rolling
from tests.support.debian import debian_program
from tests.support.forks import ForkedDaemons
from tests.support.tiny_backbone import tiny_backbone

RATE = 100


def test_each_server_is_restarted_under_requests_and_none_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rolling, "Daemons", ForkedDaemons)
    debian_program("haproxy", "haproxy")
    backbone = {"MILLSTREAM_MODEL__BACKBONE": str(tiny_backbone(tmp_path / "backbone"))}
    outcome = rolling.measured(tmp_path / "run", 2, RATE, backbone)
    assert outcome.failures == []
    assert outcome.restarts == 2 and outcome.requests > 3 * RATE
