"""The commands: what they print, what they write, and how they fail."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from pipeline import cli
from pipeline.config import Settings, load_settings, to_toml
from pipeline.eventlog.port import TopicSpec
from pipeline.snapshots.snapshot import Version
from tests.mill import Mill, tiny_settings

COMMANDS = {
    "config",
    "topics",
    "backtest",
    "learn",
    "rebuild",
    "serve",
    "play",
    "simulate",
    "demo",
    "history",
}
SHOP = "shop:events=60,users=10,items=90,arrivals=0"
CSV = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,A,red cup,1,2010-12-01 08:26:00,1,17850,UK
1,B,blue cup,2,2010-12-01 08:26:00,1,17850,UK
2,A,red cup,1,2010-12-01 08:27:00,1,17851,UK
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, backbone_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the settings of a tiny model in its file."""
    settings = tiny_settings(tmp_path, backbone_folder)
    (tmp_path / "millstream.toml").write_text(to_toml(settings))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments, catch_exceptions=False)


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command as the shell does; it must exit with status 1. What it says of it."""
    monkeypatch.setattr(sys, "argv", ["millstream", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_help_lists_every_command() -> None:
    told = run("--help").output
    assert all(command in told for command in COMMANDS)
    assert len(cli.app.registered_commands) + len(cli.app.registered_groups) == len(COMMANDS)


def test_config_prints_the_settings_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_LEARN__SEED", "5")
    told = tomllib.loads(run("config").output)
    assert told["learn"]["seed"] == 5
    assert Settings(**told) == load_settings()


def test_config_loads_no_torch() -> None:
    program = "import sys, pipeline.cli as c; c.config(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_topics_are_created_once_and_then_as_they_should_be() -> None:
    created = run("topics", "create")
    assert created.output.split()[0] == "mill.interactions"
    assert len(created.output.split()) == 8
    assert run("topics", "create").output == "all topics exist\n"
    assert run("topics", "check").output == "all topics are as they should be\n"


def test_missing_topics_are_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = fails(monkeypatch, capsys, "topics", "check")
    assert told.startswith("TopicError: mill.interactions: missing; run `millstream topics create`\n")
    assert "Traceback" not in told


@pytest.mark.parametrize("data", ["no-such-file", "no such [bold]file[/bold]", "[/red] " + 200 * "x"])
def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: str
) -> None:
    told = fails(monkeypatch, capsys, "backtest", data)
    assert told.count("\n") == 1
    assert told.startswith(f"DatasetError: {data}: found neither a file nor a folder")


def test_a_mistake_in_the_settings_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "millstream.toml").write_text("[learn]\nsed = 1\n")
    assert fails(monkeypatch, capsys, "config").startswith("InvalidSettings: learn.sed: ")


def test_a_backtest_of_a_csv_prints_a_table_and_writes_a_report(folder: Path) -> None:
    (folder / "sales.csv").write_text(CSV)
    result = run("backtest", "sales.csv", "--report", "report.json")
    assert result.exit_code == 0
    assert "mixture" in result.output and "hr@20" in result.output
    report = orjson.loads((folder / "report.json").read_bytes())
    assert set(report) == {"dataset", "events", "seconds", "events_per_second", "quality"}
    assert (report["dataset"], report["events"]) == ("online-retail", 3)


def test_a_backtest_is_the_same_for_the_same_seed(folder: Path) -> None:
    told = []
    for seed in ("1", "1", "2"):
        run("backtest", SHOP, "--limit", "40", "--seed", seed, "--report", "report.json")
        told.append(orjson.loads((folder / "report.json").read_bytes()))
    first, same, other = (report["quality"] for report in told)
    assert first == same != other
    assert told[0]["events"] == 40


def test_what_is_played_can_be_rebuilt(settings: Settings) -> None:
    run("topics", "create")
    run("play", SHOP, "--limit", "20")
    run("simulate", "--events", "5")
    with Mill(settings) as mill:
        assert len(mill.records(mill.topics.interactions)) == 25
        with mill.life() as life:
            life.catch_up()
            digest = life.checkpoint()
            version = Version(life.position.generation, life.position.step)
    agreed = run("rebuild")
    assert (agreed.exit_code, " ".join(agreed.stdout.split())) == (
        0,
        f"{version} {digest}: its checkpoint agrees",
    )
    manifest = settings.learn.checkpoints / "mill" / str(version) / "manifest.json"
    told = orjson.loads(manifest.read_bytes())
    manifest.write_bytes(orjson.dumps({**told, "digest": "other"}))
    assert run("rebuild").exit_code == 1


def test_playing_needs_the_topics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "TopicError" in fails(monkeypatch, capsys, "play", SHOP)


def test_a_rate_and_a_speed_exclude_each_other() -> None:
    run("topics", "create")
    result = CliRunner().invoke(cli.app, ["play", SHOP, "--rate", "5", "--speed", "2"])
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_topics_of_another_shape_are_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Mill(settings) as mill:
        assert mill.log.describe_topics()["mill.items"] == TopicSpec(
            "mill.items", 4, compacted=True, compaction_lag_ms=settings.log.topic_sizes[2]
        )
    monkeypatch.setenv("MILLSTREAM_LOG__PARTITIONS", "8")
    told = fails(monkeypatch, capsys, "topics", "check")
    assert "mill.items: 4 partitions instead of 8" in told
