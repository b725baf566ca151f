"""The search for settings as a command: what it prints, and a settings file that can be used."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

from pipeline.config import load_settings
from tests.support.commands import fails, misused, run

SHOP = "shop:events=90,users=10,items=90,arrivals=0"


def test_a_search_prints_what_mattered_and_writes_settings_that_can_be_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = "--write", "tuned.toml", "--report", "tuned.json", "--study", "runs.log"
    result = run("tune", SHOP, "--runs", "6", *files)
    assert result.exit_code == 0
    assert "6 runs" in result.output and "learn.optimizer.rows.residual" in result.output
    found = orjson.loads((folder / "tuned.json").read_bytes())
    assert found["best"]["figure"] >= found["present"]["figure"]
    assert len(found["importances"]) == len(found["best"]["settings"])
    monkeypatch.setenv("MILLSTREAM_CONFIG", "tuned.toml")
    learn = load_settings().learn
    assert learn.optimizer.rows.residual == found["best"]["settings"]["optimizer.rows.residual"]
    assert learn.replay.segments == found["best"]["settings"]["replay.segments"]


def test_other_settings_begin_a_search_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("tune", SHOP, "--runs", "2", "--study", "runs.log")
    monkeypatch.setenv("MILLSTREAM_LEARN__SEED", "5")
    assert "1 run, 0 of them" in run("tune", SHOP, "--runs", "1", "--study", "runs.log").output


@pytest.mark.parametrize("written", ["--write", "--study", "--report"])
def test_the_settings_in_force_are_not_written_over(folder: Path, written: str) -> None:
    (folder / "millstream.toml").write_text("[learn]\nseed = 5\n")
    assert "millstream.toml is read, or written twice" in misused("tune", SHOP, written, "millstream.toml")
    assert load_settings().learn.seed == 5


def test_an_unknown_slice_is_refused(folder: Path) -> None:
    assert "there is no slice nobody: use one of all, " in misused("tune", SHOP, "--slice", "nobody")


def test_without_optuna_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "pipeline.training.tuning", raising=False)
    line = fails(monkeypatch, capsys, "tune", SHOP)
    assert "tuning needs optuna: pip install 'millstream[tune]'" in line
