"""Properties of all commands: help and errors."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from pipeline import cli
from tests.support.commands import fails, run
from tests.support.model_harness import ModelHarness

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
    "pause",
    "resume",
    "rollback",
    "retrain",
    "candidates",
    "console",
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


def test_the_version_is_that_of_the_installation() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"millstream {version('millstream')}\n")


REFUSES = """
import sys
from typer.testing import CliRunner
from pipeline.cli import app
for command in (
    ["rollback", "9-9"],
    ["rebuild", "--at", "9-9"],
    ["serve", "--at", "9-9"],
    ["candidates", "promote", "nobody"],
):
    print(CliRunner().invoke(app, command).exception)
sys.exit("torch" in sys.modules)
"""


def test_names_that_nobody_knows_are_refused_without_torch(harness: ModelHarness) -> None:
    with harness.learning():
        pass
    ran = subprocess.run([sys.executable, "-c", REFUSES], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    rollback, rebuild, serve, candidates = ran.stdout.splitlines()
    assert "version 9-9 was never learned" in rollback and rebuild == rollback
    assert "snapshot 9-9 is not in the store" in serve
    assert "nobody" in candidates


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "_MILLSTREAM_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "millstream gate",
        "COMP_CWORD": "1",
    }
    words = {"_TYPER_COMPLETE_ARGS": "millstream gate", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    for name, value in {**variables, **words}.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(cli.app, [], prog_name="millstream")
    assert "gateway" in result.stdout and "learn" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["config"], 0),
        (["no-such-command"], 2),
        (["play"], 2),
        (["serve", "--port", "x"], 2),
    ],
)
def test_exit_codes_are_those_of_the_docs(arguments: list[str], status: int) -> None:
    assert run(*arguments).exit_code == status


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
