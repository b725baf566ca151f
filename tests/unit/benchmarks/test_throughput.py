"""What wrk prints is read, and a machine without it is told so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import throughput


def test_what_wrk_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrk = tmp_path / "wrk"
    wrk.write_text("#!/bin/sh\necho Running\necho FIGURES 120 2.000000 8.500000 25.250000 3\n")
    wrk.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    asked = throughput._ask("http://nowhere", tmp_path / "script", connections=4, seconds=2)
    assert asked == (120, 2.0, 8.5, 25.25, 3)


def test_without_wrk_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    app = typer.Typer()
    app.command()(throughput.main)
    result = CliRunner().invoke(app)
    assert result.exit_code == 2
    assert "wrk is not installed" in result.output


def test_own_memory_is_found() -> None:
    assert throughput._pss_kib(os.getpid()) > 1_000
