"""The commands: what they print, what they write, and how they fail."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from pipeline import cli
from pipeline.config import Settings, load_settings, to_toml
from pipeline.eventlog.port import TopicSpec
from pipeline.learning.control import Rollback
from pipeline.snapshots.snapshot import Version
from tests.mill import Mill, tiny_settings

COMMANDS = {
    "config",
    "topics",
    "backtest",
    "learn",
    "rebuild",
    "rollback",
    "retrain",
    "candidates",
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
        f"{version} {digest}: checkpoint agrees, snapshot is not there",
    )
    manifest = settings.learn.checkpoints / "mill" / str(version) / "manifest.json"
    told = orjson.loads(manifest.read_bytes())
    manifest.write_bytes(orjson.dumps({**told, "digest": "other"}))
    assert run("rebuild").exit_code == 1


def test_an_earlier_version_is_rebuilt_by_name_and_by_time(settings: Settings) -> None:
    run("topics", "create")
    run("play", SHOP, "--limit", "60")
    with Mill(settings) as mill, mill.life() as life:
        life.new(2)
        manifest = life.publish(mill.publisher())
        life.new()
        assert life.position.step > 2
        digest = mill.rebuilt(until="1-2").digest
    expected = f"1-2 {digest}: checkpoint is not there, snapshot agrees"
    named = run("rebuild", "--at", "1-2")
    assert (named.exit_code, " ".join(named.stdout.split())) == (0, expected)
    with Mill(settings) as mill:
        appended = mill.records(mill.topics.journal)[2].append_time
    moment = datetime.fromtimestamp((appended + 1) / 1000, UTC).isoformat(timespec="milliseconds")
    told = run("rebuild", "--at", moment).stdout
    assert told.split()[0] in {"1-2", "1-3"}, "the next one may have come in the same millisecond"
    file = Path(settings.snapshots, "mill", "1-2", "manifest.json")
    file.write_bytes(orjson.dumps({**orjson.loads(file.read_bytes()), "digest": manifest.version}))
    differing = run("rebuild", "--at", "1-2")
    assert differing.exit_code == 1
    assert "snapshot DIFFERS" in differing.stdout


def test_a_time_before_there_was_anything_is_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Mill(settings) as mill, mill.life():
        pass
    assert "TopicError" in fails(monkeypatch, capsys, "rebuild", "--at", "1999-12-31")


@pytest.mark.parametrize("relearn", [False, True])
def test_a_rollback_by_hand_is_ordered_and_obeyed(settings: Settings, relearn: bool) -> None:
    run("topics", "create")
    run("play", SHOP, "--limit", "60")
    with Mill(settings) as mill, mill.life() as life:
        life.new()
        result = run("rollback", "1-2", "--reason", "poison", *(["--relearn"] if relearn else []))
        (order,) = mill.told(Rollback)
        assert result.stdout == f"told: {order.key}\n"
        assert (order.version, order.relearn, order.generation) == ("1-2", relearn, None)
        assert order.reason == "poison"
        (first, *_) = life.new()
        assert (first.position.version, first.micro.learns) == ("2-3", relearn)


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
