"""Properties of all commands: help and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from pipeline import cli
from tests.support.commands import fails, run

COMMANDS = {
    "bridge",
    "gateway",
    "inspect",
    "config",
    "topics",
    "tune",
    "backtest",
    "learn",
    "media",
    "rebuild",
    "audit",
    "rollback",
    "retrain",
    "candidates",
    "serve",
    "play",
    "simulate",
    "demo",
    "doctor",
    "history",
    "policy",
    "experiment",
    "items",
    "users",
    "status",
    "dead-letters",
    "rules",
}


def test_help_lists_every_command() -> None:
    text = run("--help").output
    assert all(command in text for command in COMMANDS)
    program = get_command(cli.app)
    assert isinstance(program, TyperGroup)
    assert set(program.commands) == COMMANDS


@pytest.mark.parametrize("data", ["no-such-file", "no such [bold]file[/bold]", "[/red] " + 200 * "x"])
def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: str
) -> None:
    line = fails(monkeypatch, capsys, "backtest", data)
    assert line.count("\n") == 1
    assert line.startswith(f"DatasetError: {data}: found neither a file nor a folder")


def test_an_error_in_the_settings_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "millstream.toml").write_text("[learn]\nsed = 1\n")
    assert fails(monkeypatch, capsys, "config").startswith("InvalidSettings: learn.sed: ")
