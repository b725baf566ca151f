"""SIGKILL of the bridge while strangers send: each record is in the log once by id, or a dead letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Settings
from tests.chaos.bridge import kill_and_compare

KILLS = 4


@pytest.mark.parametrize("seed", [3])
def test_a_killed_bridge_loses_and_doubles_nothing(
    environment: dict[str, str], settings: Settings, kafka_url: str, tmp_path: Path, seed: int
) -> None:
    outcome = kill_and_compare(environment, settings, kafka_url, tmp_path, KILLS, seed)
    assert outcome.findings == []
    assert outcome.records > 500 and 0.5 < outcome.well_formed / outcome.records < 1
