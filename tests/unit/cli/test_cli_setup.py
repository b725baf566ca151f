"""Setup commands: settings and topics."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from pipeline.config import Settings, load_settings
from pipeline.eventlog.port import TopicSpec
from tests.support.commands import fails, run
from tests.support.model_harness import ModelHarness


def test_config_prints_the_settings_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_LEARN__SEED", "5")
    printed = tomllib.loads(run("config").output)
    assert printed["learn"]["seed"] == 5
    assert Settings(**printed) == load_settings()


def test_config_loads_no_torch() -> None:
    program = "import sys; from pipeline.cli import setup; setup.config(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_topics_are_created_once_and_then_match_the_settings() -> None:
    created = run("topics", "create")
    assert created.output.split()[0] == "mill.interactions"
    assert len(created.output.split()) == 8
    assert run("topics", "create").output == "all topics exist\n"
    assert run("topics", "check").output == "all topics match the settings\n"


def test_missing_topics_are_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(monkeypatch, capsys, "topics", "check")
    assert line.startswith("TopicError: mill.interactions: missing; run `millstream topics create`\n")
    assert "Traceback" not in line


def test_topics_that_differ_from_the_settings_are_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelHarness(settings) as harness:
        assert harness.log.describe_topics()["mill.items"] == TopicSpec(
            "mill.items", 4, compacted=True, compaction_lag_ms=settings.log.topic_sizes[2]
        )
    monkeypatch.setenv("MILLSTREAM_LOG__PARTITIONS", "8")
    line = fails(monkeypatch, capsys, "topics", "check")
    assert "mill.items: 4 partitions instead of 8" in line
