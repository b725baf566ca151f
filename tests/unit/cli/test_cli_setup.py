"""Setup commands: settings and topics."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipeline.config import Settings, load_settings
from pipeline.eventlog.port import TopicSpec
from pipeline.eventlog.topics import Topics
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
    specs = Topics("mill").specs(1, 1, 1)
    assert created.output.split() == [spec.name for spec in specs]
    assert run("topics", "create").output == "all topics exist\n"
    assert run("topics", "check").output == "all topics match the settings\n"


def test_missing_topics_are_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(monkeypatch, capsys, "topics", "check")
    assert line.startswith("TopicError: ")
    assert "there is no such file; put it back, or run `millstream topics create`" in line
    assert "Traceback" not in line


def test_looking_begins_no_log_where_the_real_one_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for command in (["status"], ["history"], ["dead-letters", "list"], ["rebuild"], ["rollback", "1-1"]):
        fails(monkeypatch, capsys, *command)
    assert not (tmp_path / "log.db").exists()


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


def test_topics_are_altered_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    run("topics", "create")
    assert run("topics", "alter").output == "all topics match the settings\n"
    monkeypatch.setenv("MILLSTREAM_LOG__RETENTION_HOURS", "9999")
    assert run("topics", "alter").output.split()[0] == "mill.interactions"
    assert run("topics", "check").output == "all topics match the settings\n"


def test_topics_are_migrated_to_more_partitions(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelHarness(settings) as harness, harness.log.writer() as writer:
        for number in range(20):
            writer.append("mill.interactions", f"user-{number}", b"{}")
    output = run("topics", "migrate", "--to", "mill-8", "--partitions", "8").output
    assert "mill.interactions: 20 records copied and verified\n" in output
    assert "set `prefix = 'mill-8'` and `partitions = 8` in [log]" in " ".join(output.split())
    monkeypatch.setenv("MILLSTREAM_LOG__PREFIX", "mill-8")
    monkeypatch.setenv("MILLSTREAM_LOG__PARTITIONS", "8")
    assert run("topics", "check").output == "all topics match the settings\n"
