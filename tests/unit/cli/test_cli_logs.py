"""Lines of processes: for people or as JSON, with their facts, and who wrote them."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pytest

from pipeline.cli import main
from pipeline.cli.logs import JsonLines, command_in, text_lines, write_logs
from pipeline.config import LoggingConfig, Settings, load_settings
from pipeline.demo.processes import free_port
from pipeline.errors import InvalidSettings
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from tests.support.commands import fails

RECORD = logging.LogRecord("consumers.serve", logging.WARNING, "here.py", 1, "served %s", ("3-1",), None)
RECORD.created = 1_795_000_000.25
MILLSTREAM = sys.executable, "-m", "pipeline.cli"


def test_a_line_of_json_has_a_field_for_each_fact() -> None:
    record = logging.makeLogRecord({**vars(RECORD), "snapshot": "3-1", "color_message": "served"})
    assert json.loads(JsonLines("serve", 2).format(record)) == {
        "time": "2026-11-18T11:06:40.250Z",
        "level": "warning",
        "logger": "consumers.serve",
        "message": "served 3-1",
        "daemon": "serve",
        "worker": 2,
        "snapshot": "3-1",
    }
    assert "worker" not in json.loads(JsonLines("learn", None).format(record))


def test_a_traceback_is_a_field_of_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    (line,) = JsonLines("learn", None).format(record).splitlines()
    assert json.loads(line)["exception"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize(("form", "levels"), [("json", [logging.WARNING]), ("text", [])])
def test_warnings_of_libraries_are_lines_where_lines_are_json(
    form: Literal["json", "text"], levels: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    try:
        write_logs(LoggingConfig(format=form), "learn")
        with warnings.catch_warnings(action="always", record=form == "text"):
            warnings.warn("old", stacklevel=1)
    finally:
        logging.captureWarnings(False)
    assert [record.levelno for record in caplog.records] == levels


def test_a_line_of_text_names_the_worker() -> None:
    assert text_lines(1).format(RECORD).endswith(" WARNING worker 1 consumers.serve: served 3-1")
    assert text_lines(None).format(RECORD).endswith(" WARNING consumers.serve: served 3-1")


def test_loggers_have_the_levels_of_the_settings() -> None:
    name = "tests.quiet"
    write_logs(LoggingConfig(levels={name: "error"}), "learn")
    assert logging.getLogger(f"{name}.below").getEffectiveLevel() == logging.ERROR


def test_debug_is_refused_because_such_lines_hold_passwords() -> None:
    with pytest.raises(InvalidSettings, match="logging.levels.kafka: must be 'info'"):
        load_settings(logging={"levels": {"kafka": "debug"}})


@pytest.mark.parametrize(
    ("arguments", "command"), [(["learn", "--accept-gap"], "learn"), (["--help"], "millstream")]
)
def test_the_command_of_a_line_is_the_first_word(arguments: list[str], command: str) -> None:
    assert command_in(arguments) == command


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command whose lines are JSON."""
    environment = {**os.environ, "MILLSTREAM_LOGGING__FORMAT": "json"}
    with subprocess.Popen(
        [*MILLSTREAM, *arguments], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: subprocess.Popen[str]) -> Iterator[dict[str, object]]:
    assert process.stderr is not None
    yield from map(json.loads, process.stderr)


def test_a_daemon_begins_with_what_it_is_and_ends_quietly(settings: Settings, folder: Path) -> None:
    with open_log(settings.log.url) as event_log:
        Topics(settings.log.prefix).create(event_log, *settings.log.topic_sizes)
    port = free_port()
    with running("gateway", "--port", str(port)) as process:
        lines = lines_of(process)
        start = next(lines)
        facts = {name: start[name] for name in ("daemon", "version", "log", "prefix", "host", "port")}
        assert facts == {
            "daemon": "gateway",
            "version": version("millstream"),
            "log": settings.log.url,
            "prefix": settings.log.prefix,
            "host": "127.0.0.1",
            "port": port,
        }
        next(line for line in lines if line["message"] == "Application startup complete.")
        process.send_signal(signal.SIGTERM)
        *_, last = lines
        assert (last["message"], last["level"]) == ("gateway stopped", "info")
        assert process.wait() == 0


def test_an_error_is_a_line_of_json_with_status_1(folder: Path) -> None:
    (folder / "millstream.toml").write_text('[logging]\nformat = "json"\n[learn]\nsed = 1\n')
    with running("learn") as process:
        (line,) = lines_of(process)
        assert process.wait() == 1
    assert (line["level"], line["error"], line["daemon"]) == ("critical", "InvalidSettings", "learn")
    assert "learn.sed" in str(line["message"])


def test_what_nobody_foresaw_is_a_line_of_json_with_status_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("by chance")

    monkeypatch.setenv("MILLSTREAM_LOGGING__FORMAT", "json")
    monkeypatch.setattr("producers.gateway.daemon.run", fail)
    monkeypatch.setattr(sys, "argv", ["millstream", "gateway"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert caplog.messages[-1] == "unforeseen: by chance"


def test_settings_that_cannot_be_read_are_said_as_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "millstream.toml").write_text("[logging\n")
    assert fails(monkeypatch, capsys, "config").startswith("InvalidSettings: millstream.toml cannot be read")
