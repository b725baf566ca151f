"""Trial commands: the table of a backtest, and reports."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

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
    assert set(report) == {"dataset", "events", "seconds", "events_per_second", "quality"}
    assert (report["dataset"], report["events"]) == ("online-retail", 3)


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
    assert "dropped 1 rows: a cancelled invoice (C and digits) (the first at sales.csv:5)" in result.output


def test_a_file_of_dropped_rows_alone_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sales.csv").write_text(CSV.splitlines()[0] + "\n1,A,red cup,1,2010-12-01 08:27:00,1,,UK\n")
    assert "not one row became an interaction" in fails(monkeypatch, capsys, "backtest", "sales.csv")


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
    assert line.startswith("InvalidSettings: learn.seed: Input should be less than")
