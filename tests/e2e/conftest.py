"""What end-to-end tests share: settings for real daemons, each test with a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pipeline.config import Settings, load_settings
from pipeline.demo.processes import Daemons, free_port
from tests.support.browser import chromium, missing_for_browser
from tests.support.documents import ROOT
from tests.support.forks import ForkedDaemons

CACHE = Path(__file__).parents[2] / ".cache" / "content"
"""Shared by all tests and runs: the real backbone reads each title once."""

PICTURES = ROOT / "build" / "console"
"""Where screenshots are kept."""


@pytest.fixture
def environment(log_url: str, prefix: str, tmp_path: Path) -> dict[str, str]:
    """Default settings but for places, ports and the number of partitions."""
    return {
        "MILLSTREAM_LOG__URL": log_url,
        "MILLSTREAM_LOG__PREFIX": prefix,
        "MILLSTREAM_LOG__PARTITIONS": "4",
        "MILLSTREAM_MODEL__CACHE": str(CACHE),
        "MILLSTREAM_SNAPSHOTS__STORE": str(tmp_path / "snapshots"),
        "MILLSTREAM_CHECKPOINTS__FOLDER": str(tmp_path / "checkpoints"),
        "MILLSTREAM_METRICS__LEARN": str(free_port()),
        "MILLSTREAM_SERVE__PORT": str(free_port()),
    }


@pytest.fixture
def settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same settings for the test itself."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.fixture
def daemons(environment: dict[str, str], tmp_path: Path) -> Iterator[Daemons]:
    """Real daemons as processes, forked; stopped after the test."""
    with ForkedDaemons(tmp_path, environment) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser; under CI it must be there."""
    if missing := missing_for_browser():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    PICTURES.mkdir(parents=True, exist_ok=True)
    with chromium() as running:
        yield running
