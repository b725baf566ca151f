"""A search for settings: repeatable, resumable, and never worse than the settings as they are."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from pipeline.assembly import make_learner
from pipeline.config import LearnerConfig, Settings
from pipeline.datasets import Shop, ShopSettings
from pipeline.errors import DatasetError, StorageUnavailable
from pipeline.evaluation.prequential import Quality
from pipeline.training import tuning
from pipeline.training.backtest import micro_batches
from pipeline.training.tuning import SEARCHED, RunsLock, TunedSetting, Tuning, configured

SHOP = Shop(ShopSettings(seed=3, events=160, users=10, items=90, arrivals=0))
BATCHES = list(micro_batches(SHOP.events(), 16))


def search(
    settings: Settings,
    file: Path | None = None,
    figure: str = "log_loss",
    slice_name: str = "all",
    seed: int = 0,
) -> Tuning:
    return Tuning(make_learner(settings), BATCHES, figure, slice_name, seed, file, "shop")


def test_the_first_run_is_a_backtest_with_the_settings_as_they_are(settings: Settings) -> None:
    found = search(settings).search(1, None, lambda: None)
    quality, learner = Quality(), make_learner(settings)
    for batch in BATCHES:
        quality.add(learner.score_and_learn(batch))
    assert found.present == found.best
    assert found.present.figure == quality.report()["mixture"]["all"]["log_loss"]
    assert found.present.settings == {one.name: one.of(settings.learn) for one in SEARCHED}
    assert (found.runs, found.stopped, found.importances) == (1, 0, {})


@pytest.mark.parametrize(("figure", "sign"), [("log_loss", -1), ("mrr@20", 1)])
def test_the_best_run_is_no_worse_than_the_settings_as_they_are(
    settings: Settings, figure: str, sign: int
) -> None:
    finished: list[None] = []
    found = search(settings, figure=figure).search(7, None, lambda: finished.append(None))
    assert sign * found.best.figure >= sign * found.present.figure
    assert found.runs == len(finished) == 7
    assert sum(found.importances.values()) == pytest.approx(1)
    best = search(settings.model_copy(update={"learn": configured(settings.learn, found.best.settings)}))
    again = Tuning(best.learner, BATCHES, figure, "all", 0, None, "again").search(1, None, lambda: None)
    assert again.present.figure == found.best.figure, "its settings alone give what it found"


def test_the_same_seed_tries_the_same_settings(settings: Settings) -> None:
    first, second, other = (search(settings, seed=seed).search(4, None, lambda: None) for seed in (1, 1, 2))
    assert first.best.settings == second.best.settings
    assert first.importances == second.importances != other.importances != {}


def test_a_search_goes_on_from_its_file(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "runs.log"
    before = search(settings, file).search(2, None, lambda: None)
    finished: list[None] = []
    after = search(settings, file).search(4, None, lambda: finished.append(None))
    assert (before.runs, after.runs, len(finished)) == (2, 4, 2)
    assert after.present == before.present, "it is not run again"
    unchanged = search(settings, file).search(4, None, lambda: finished.append(None))
    assert (unchanged.best, len(finished)) == (after.best, 2)


def test_a_search_goes_on_from_a_file_whose_last_line_was_cut_off(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "runs.log"
    before = search(settings, file).search(2, None, lambda: None)
    whole = file.read_bytes()
    file.write_bytes(whole + whole.splitlines()[-1][:20])
    after = search(settings, file).search(3, None, lambda: None)
    assert (after.runs, after.present) == (3, before.present)
    assert file.read_bytes().startswith(whole + b"{"), "it went on after the last whole line"


def test_a_search_that_was_killed_keeps_no_other_waiting(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "runs.log"
    Path(f"{file}.lock").symlink_to(
        file
    )  # optuna's own lock, as a killed search of an earlier version left it
    holds = f"""
import os, signal
from pathlib import Path
from pipeline.training.tuning import RunsLock
RunsLock(Path({str(file)!r})).acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", holds], check=False)
    assert killed.returncode == -signal.SIGKILL
    lock, began = RunsLock(file), time.monotonic()
    lock.acquire()
    assert time.monotonic() - began < 10
    lock.release()
    assert search(settings, file).search(1, None, lambda: None).runs == 1


def test_one_search_at_a_time_appends(tmp_path: Path) -> None:
    file, appended = tmp_path / "runs.log", Event()
    first, second = RunsLock(file), RunsLock(file)

    def append() -> None:
        second.acquire()
        appended.set()
        second.release()

    first.acquire()
    other = Thread(target=append)
    other.start()
    assert not appended.wait(0.2)
    first.release()
    other.join(20)
    assert appended.is_set()


@pytest.mark.parametrize(
    "content", [b"user,item\n1,2\n", b'{"user": 1}\n', b"[1]\n5", b"no line's end", b"\n"]
)
def test_a_file_of_something_else_is_named_and_stays_as_it_is(
    settings: Settings, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "sales.csv"
    file.write_bytes(content)
    with pytest.raises(StorageUnavailable, match=r"sales\.csv:1 is not of a search .* name another file"):
        search(settings, file).search(1, None, lambda: None)
    assert file.read_bytes() == content
    assert [path.name for path in tmp_path.glob("sales*")] == ["sales.csv"], "no lock is left"


def test_a_damaged_line_between_others_is_named(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "runs.log"
    search(settings, file).search(1, None, lambda: None)
    first, *others = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + others[0][:9] + b"".join(others))
    with pytest.raises(StorageUnavailable, match=r"runs\.log:2 is not of a search"):
        search(settings, file).search(2, None, lambda: None)


def test_a_file_that_cannot_be_written_is_named(settings: Settings) -> None:
    with pytest.raises(StorageUnavailable, match="cannot be kept in /dev/full/runs"):
        search(settings, Path("/dev/full/runs.log")).search(1, None, lambda: None)


def test_poor_runs_are_stopped_early(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one setting searched has a best value and many that are far worse."""
    monkeypatch.setattr(tuning, "SEARCHED", (TunedSetting("optimizer.rows.residual", 0.01, 10.0),))
    found = search(settings).search(10, None, lambda: None)
    assert 0 < found.stopped <= 9
    assert found.best.settings["optimizer.rows.residual"] < 1


def test_no_time_is_no_further_run(settings: Settings) -> None:
    assert search(settings).search(50, 1e-9, lambda: None).runs == 1


def test_a_slice_without_targets_cannot_be_tuned(settings: Settings) -> None:
    with pytest.raises(DatasetError, match="nothing to compare"):
        search(settings, slice_name="dormant").search(1, None, lambda: None)


def test_every_setting_searched_is_one_whose_range_has_its_default() -> None:
    default = LearnerConfig()
    values = {one.name: one.of(default) for one in SEARCHED}
    assert configured(default, values) == default
    for one in SEARCHED:
        for bound in (one.low, one.high):
            assert configured(default, {one.name: bound}) != default
