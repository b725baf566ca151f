"""Trial commands: the table of a backtest, and reports."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.evaluation.classification import Classification
from pipeline.evaluation.ratings import RatingReport
from pipeline.reports.tracking import track
from pipeline.training.backtest import BacktestReport
from tests.support.commands import fails, misused, run

SHOP = "shop:events=60,users=10,items=90,arrivals=0"
CSV = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,A,red cup,1,2010-12-01 08:26:00,1,17850,UK
1,B,blue cup,2,2010-12-01 08:26:00,1,17850,UK
2,A,red cup,1,2010-12-01 08:27:00,1,17851,UK
"""


def test_a_backtest_of_a_csv_prints_a_table_and_writes_a_report(folder: Path) -> None:
    (folder / "sales.csv").write_text(CSV)
    result = run("backtest", "sales.csv", "--report", "report.json")
    assert result.exit_code == 0
    assert "mixture" in result.output and "hr@20" in result.output
    report = orjson.loads((folder / "report.json").read_bytes())
    assert {"quality", "regret", "windows", "decisions", "ratings"} < set(report)
    assert (report["dataset"], report["events"]) == ("online-retail", 3)


def test_a_backtest_says_what_the_vectors_of_items_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_LEARN__SIZES__VECTORS", '{"look": 32}')
    shop = "shop:events=60,users=10,items=100,arrivals=5,modality=vector"
    result = run("backtest", shop, "--report", "report.json")
    assert result.exit_code == 0
    assert "beside texts of items" in result.output and "gate" in result.output
    figures = orjson.loads((folder / "report.json").read_bytes())["modalities"]["look"]
    assert 0 < figures["gate"] < 2
    assert figures["length"] > 0


RATINGS = "userId,movieId,rating,timestamp\n" + "".join(
    f"{user},{item},{10 - item},{1_000_000_000 + 60 * item}\n" for user in range(1, 4) for item in range(5)
)


def test_ratings_on_another_scale_are_a_warning_of_the_report(folder: Path) -> None:
    (folder / "rated.csv").write_text(RATINGS)
    inspected = run("inspect", "rated.csv", "--write", "mapping.toml").output
    tested = run(
        "backtest", "rated.csv", "--mapping", "mapping.toml", "--report", "r.json", "--html", "r.html"
    )
    doubt = "15 of 15 ratings are beyond the scale of 0.5 to 5 and count as its nearest end"
    assert f"warning: {doubt}" in inspected and "learn.ratings.highest = 10" in inspected
    assert f"warning: {doubt}" in tested.output
    assert orjson.loads((folder / "r.json").read_bytes())["warnings"][0].startswith(doubt)
    assert doubt in (folder / "r.html").read_text()


def test_a_backtest_writes_a_page(folder: Path) -> None:
    assert run("backtest", SHOP, "--seed", "3", "--html", "report.html").exit_code == 0
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert "seed = 3" in page
    assert "[metrics]" not in page, "only settings that a backtest depends on"


def test_a_backtest_is_tracked(folder: Path) -> None:
    for _ in range(2):
        assert run("backtest", SHOP, "--track", "runs").exit_code == 0
    first, second = sorted((folder / "runs").iterdir())
    reader = EventAccumulator(str(second))
    reader.Reload()
    names = reader.Tags()["scalars"]
    assert {"all/hr@20/mixture", "regret/log_loss/all", "speed/interactions a second"} <= set(names)
    assert reader.Scalars("all/hr@20/mixture")[-1].step == 60
    assert set(reader.Tags()["tensors"]) == {"settings/text_summary", "run/text_summary"}


def test_figures_of_decisions_and_ratings_are_tracked_at_the_end(tmp_path: Path) -> None:
    predicted = Classification()
    predicted.add(np.array([0.9, 0.2]), np.array([True, False]))
    ratings = {"all": RatingReport(3.0, 0.75, 1.0), "first of a user": RatingReport(0.0, None, None)}
    decisions = {"preference": predicted.report()}
    result = BacktestReport("sales", 30, 1.5, {}, decisions=decisions, ratings=ratings)
    track(result, tmp_path, {}, "")
    reader = EventAccumulator(str(tmp_path))
    reader.Reload()
    found = {name: reader.Scalars(name)[-1] for name in reader.Tags()["scalars"]}
    errors = [found[f"ratings/{name}/all"] for name in ("mae", "rmse")]
    assert [(one.step, one.value) for one in errors] == [(30, 0.75), (30, 1)]
    assert found["decisions/ROC AUC/preference"].value == 1
    assert not [name for name in found if name.endswith("first of a user")], "there was no such rating"


def test_what_tracking_needs_is_asked_for_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    line = fails(monkeypatch, capsys, "backtest", SHOP, "--track", "runs")
    assert "tracking needs tensorboard: pip install 'millstream[track]'" in line


@pytest.mark.parametrize("written", [["--report", "sales.csv"], ["--html", "r", "--report", "./r"]])
def test_a_report_is_not_written_over_the_data_or_another(folder: Path, written: list[str]) -> None:
    (folder / "sales.csv").write_text(CSV)
    assert "is read, or written twice: name another file" in misused("backtest", "sales.csv", *written)
    assert (folder / "sales.csv").read_text() == CSV


def test_a_folder_that_no_run_can_be_written_to_is_refused_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "taken").touch()
    monkeypatch.setattr("pipeline.assembly.make_learner", None)
    line = fails(monkeypatch, capsys, "backtest", SHOP, "--track", "taken/runs")
    assert "StorageUnavailable: runs cannot be written to taken/runs" in line
    assert "name another folder" in line


def test_a_backtest_is_the_same_for_the_same_seed(folder: Path) -> None:
    reports = []
    for seed in ("1", "1", "2"):
        run("backtest", SHOP, "--limit", "40", "--seed", seed, "--report", "report.json")
        reports.append(orjson.loads((folder / "report.json").read_bytes()))
    first, same, other = (report["quality"] for report in reports)
    assert first == same != other
    assert reports[0]["events"] == 40


def test_dropped_rows_are_printed_by_reason(folder: Path) -> None:
    (folder / "sales.csv").write_text(CSV + "C3,A,red cup,1,2010-12-01 08:27:00,1,17851,UK\n")
    result = run("backtest", "sales.csv")
    assert "dropped 1 row: a cancelled invoice (C and digits) (the first at sales.csv:5)" in result.output


def test_a_file_of_dropped_rows_alone_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sales.csv").write_text(CSV.splitlines()[0] + "\n1,A,red cup,1,2010-12-01 08:27:00,1,,UK\n")
    assert "not one row became an interaction" in fails(monkeypatch, capsys, "backtest", "sales.csv")


@pytest.mark.parametrize("command", [["backtest"], ["inspect"], ["play"], ["tune", "--runs", "1"]])
def test_a_file_without_rows_is_an_error_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    (folder / "sales.csv").write_text(CSV.splitlines()[0] + "\n")
    line = fails(monkeypatch, capsys, command[0], "sales.csv", *command[1:])
    assert line.startswith("EmptyData: sales.csv has no rows, so there is nothing to read")


def test_encoding_and_form_of_dates_can_be_named(folder: Path) -> None:
    text = CSV.replace("2010-12-01", "01/12/2010").replace(":00,", ",").replace("red cup", "£1 cup")
    (folder / "sales.csv").write_bytes(text.encode("cp1252"))
    result = run("backtest", "sales.csv", "--encoding", "cp1252", "--dates", "day-first")
    assert "3 events in" in result.output


@pytest.mark.parametrize("command", ["backtest", "demo"])
@pytest.mark.parametrize(
    ("report", "fault"),
    [
        ("nowhere/report.json", "there is no folder nowhere: make it first"),
        (".", ". is a folder"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    folder: Path, command: str, report: str, fault: str
) -> None:
    before = sorted(folder.rglob("*"))
    assert f"Invalid value for '--report': {fault}" in misused(command, SHOP, "--report", report)
    assert sorted(folder.rglob("*")) == before


def test_a_report_that_finds_no_room_is_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(monkeypatch, capsys, "backtest", SHOP, "--limit", "20", "--report", "/dev/full")
    assert "StorageUnavailable: the report cannot be written to /dev/full: " in line


def test_a_seed_out_of_bounds_is_refused_as_the_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(monkeypatch, capsys, "backtest", SHOP, "--seed", str(2**63))
    assert line.startswith("InvalidSettings: learn.seed: must be less than")
