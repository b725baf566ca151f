"""Commands run as the shell runs them."""

from __future__ import annotations

import re
import sys

import pytest
from typer.testing import CliRunner, Result

from pipeline import cli


def run(*arguments: str, columns: int = 200) -> Result:
    """Run a command in a terminal of so many columns; an unforeseen error is raised."""
    return CliRunner().invoke(cli.app, arguments, catch_exceptions=False, env={"COLUMNS": str(columns)})


def misused(*arguments: str) -> str:
    """Run a command that is used wrongly; what it says of it, without the frame."""
    result = run(*arguments)
    assert result.exit_code == 2
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must exit with status 1; what it says of it."""
    monkeypatch.setattr(sys, "argv", ["millstream", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    return capsys.readouterr().err
