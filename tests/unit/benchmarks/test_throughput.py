"""What wrk and vegeta print is read, and a machine without them is told so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import throughput

VEGETA = """#!/bin/sh
[ $1 = report ] && echo '{"latencies": {"50th": 8500000, "99th": 25250000}, "duration": 1900000000,
"wait": 100000000, "requests": 120, "status_codes": {"200": 117, "503": 2, "0": 1}}'
exit 0
"""


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """Make a program that prints what another would."""
    program = folder / name
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_wrk_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "#!/bin/sh\necho Running\necho FIGURES 120 2.000000 8.500000 25.250000 3\n"
    put_on_path(tmp_path, monkeypatch, "wrk", said)
    asked = throughput.Connections(4).ask("http://nowhere", tmp_path, seconds=2)
    assert asked == (120, 2.0, 8.5, 25.25, 3)


def test_what_vegeta_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch, "vegeta", VEGETA)
    asked = throughput.Offered(60).ask("http://nowhere", tmp_path, seconds=2)
    assert asked == (120, 2.0, 8.5, 25.25, 3)


def row(asked: str, answered: float, p99_ms: float, errors: int = 0) -> throughput.Row:
    return throughput.Row("torch", 2, asked, answered, 5.0, p99_ms, errors, 9, 1.5, [700.0], 1.0)


def test_the_highest_rate_that_was_held_is_named() -> None:
    held = [row("400/s", 400.0, 12.0), row("600/s", 598.0, 24.9)]
    lost = [row("800/s", 700.0, 20.0), row("900/s", 900.0, 26.0), row("1,000/s", 1_000.0, 20.0, errors=1)]
    (line,) = throughput._held([*held, *lost])
    assert line.endswith("is 600/s")
    (line,) = throughput._held(lost)
    assert line.endswith("is none")


@pytest.mark.parametrize(("arguments", "name"), [([], "wrk"), (["--offered", "100"], "vegeta")])
def test_without_what_asks_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    app = typer.Typer()
    app.command()(throughput.main)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"{name} is not installed" in result.output


def test_own_memory_is_found() -> None:
    assert throughput._pss_kib(os.getpid()) > 1_000
