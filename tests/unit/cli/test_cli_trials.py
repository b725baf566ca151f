"""The backtest command: its table and its report."""

from __future__ import annotations

from pathlib import Path

import orjson

from tests.support.commands import run

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
