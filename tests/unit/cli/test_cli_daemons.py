"""Daemon commands start the daemons with their options."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import ModuleType

import pytest

from consumers.console import daemon as console
from consumers.learn import daemon as learn
from consumers.media import daemon as media
from consumers.retrain import daemon as retrain
from consumers.serve import daemon as serve
from consumers.serve import workers
from pipeline.cli import daemons as commands
from pipeline.cli.terminal import retrain_bar
from pipeline.config import Settings
from pipeline.demo.processes import free_port
from pipeline.retraining.training import RetrainProgress
from pipeline.snapshots.version import Version
from producers.bridge import daemon as bridge
from producers.gateway import daemon as gateway
from tests.support.commands import fails, misused, run

Show = Callable[[RetrainProgress], None]


@pytest.fixture(autouse=True)
def any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each server find a port that is free."""
    for name in ("SERVE", "GATEWAY", "CONSOLE"):
        monkeypatch.setenv(f"MILLSTREAM_{name}__PORT", "0")


@pytest.fixture
def every_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no address of this machine decide a test that starts nothing."""
    monkeypatch.setattr(commands, "check_free", lambda *_: None)


@pytest.mark.parametrize(
    ("command", "daemon", "setting"),
    [
        ("learn", learn, "METRICS__LEARN"),
        ("retrain --follow", retrain, "METRICS__RETRAIN"),
        ("media", media, "METRICS__MEDIA"),
        ("serve", serve, "SERVE__PORT"),
        ("gateway", gateway, "GATEWAY__PORT"),
        ("bridge", bridge, "BRIDGE__PORT"),
        ("console", console, "CONSOLE__PORT"),
    ],
)
def test_a_taken_port_is_named_before_a_daemon_loads_anything(
    command: str,
    daemon: ModuleType,
    setting: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(daemon, "run", lambda *_, **__: pytest.fail("it starts"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv(f"MILLSTREAM_{setting}", str(port))
        line = fails(monkeypatch, capsys, *command.split())
    table = setting.partition("__")[0].lower()
    assert "InvalidSettings: " in line and f"127.0.0.1:{port} " in line and f"[{table}]" in line


def test_a_taken_port_of_a_workers_metrics_is_named_before_a_worker_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "watch", lambda *_: pytest.fail("workers start"))
    monkeypatch.setattr(workers, "stop_requested", Event)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("MILLSTREAM_SERVE__PORT", str(free_port()))
        monkeypatch.setenv("MILLSTREAM_SERVE__WORKERS", "2")
        monkeypatch.setenv("MILLSTREAM_METRICS__SERVE", str(port - 1))
        assert f"served at 127.0.0.1:{port} " in fails(monkeypatch, capsys, "serve")


@pytest.mark.parametrize(
    ("arguments", "follow", "since", "wait"),
    [
        ([], False, None, False),
        (["--wait"], False, None, True),
        (["--follow"], True, None, False),
        (["--since", "2026-11-22T09:30"], False, datetime(2026, 11, 22, 9, 30, tzinfo=UTC), False),
        (["--since", "2026-11-22T09:30+02:00"], False, datetime(2026, 11, 22, 7, 30, tzinfo=UTC), False),
    ],
)
def test_a_retrain_gets_its_options(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], follow: bool, since: datetime | None, wait: bool
) -> None:
    received = list[object]()

    def record(settings: Settings, *, follow: bool, since: datetime | None, wait: bool, show: Show) -> None:
        show(RetrainProgress(epoch=1, segments=1, total=2))
        received.extend((settings.log.prefix, follow, since, wait))

    monkeypatch.setattr(retrain, "run", record)
    assert run("retrain", *arguments).exit_code == 0
    assert received == ["mill", follow, since, wait]


def test_progress_is_a_bar_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for forced in ("1", "0"):
        monkeypatch.setenv("FORCE_COLOR" if forced == "1" else "NO_COLOR", "1")
        if forced == "0":
            monkeypatch.delenv("FORCE_COLOR")
        with retrain_bar(4) as show:
            show(RetrainProgress(epoch=2, segments=5, total=10))
        assert ("epoch 2 of at most 4, 5 of 10 segments" in capsys.readouterr().err) == (forced == "1")


@pytest.mark.parametrize("command", ["learn", "serve", "retrain", "play shop:events=5"])
def test_a_daemon_begins_no_log_where_the_real_one_is_away(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    line = fails(monkeypatch, capsys, *command.split())
    assert line.startswith("TopicError: ")
    assert "log.db: there is no such file; put it back, or run `millstream topics create`" in line
    assert not (folder / "log.db").exists()


def test_follow_and_wait_exclude_each_other() -> None:
    assert "so do --follow and --wait" in misused("retrain", "--follow", "--wait")


def test_follow_and_since_exclude_each_other() -> None:
    assert "--follow and --since exclude each other" in misused(
        "retrain", "--follow", "--since", "2026-11-22"
    )


def test_an_invalid_time_is_refused() -> None:
    assert "yesterday is not a time such as 2026-11-22T09:30" in misused("retrain", "--since", "yesterday")


@pytest.mark.usefixtures("every_port_is_free")
def test_options_come_before_environment_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_SERVE__PORT", "81")
    monkeypatch.setenv("MILLSTREAM_SERVE__RECOMMENDATIONS", "7")
    received = list[Settings]()
    monkeypatch.setattr(serve, "run", received.append)
    monkeypatch.setattr(learn, "run", received.append)
    learning = (["learn", "--accept-gap"], ["learn", "--accept-refused"], ["learn"])
    for command in (["serve", "--port", "82"], ["serve"], *learning):
        assert run(*command).exit_code == 0
    assert [one.serve.port for one in received] == [82, 81, 81, 81, 81]
    assert [one.log.accept_gap for one in received] == [False, False, True, False, False]
    assert [one.refusals.most_share for one in received] == [0.9, 0.9, 0.9, 1.0, 0.9]
    assert {(one.serve.recommendations, one.log.prefix) for one in received} == {(7, "mill")}


@pytest.mark.usefixtures("every_port_is_free")
def test_the_gateways_address_comes_before_environment_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_GATEWAY__PORT", "81")
    received = list[Settings]()
    monkeypatch.setattr(gateway, "run", received.append)
    for options in (["--port", "82", "--host", "::1"], []):
        assert run("gateway", *options).exit_code == 0
    assert [(one.gateway.host, one.gateway.port) for one in received] == [("::1", 82), ("127.0.0.1", 81)]


@pytest.mark.usefixtures("every_port_is_free")
def test_the_consoles_address_comes_before_environment_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_CONSOLE__PORT", "81")
    received = list[Settings]()
    monkeypatch.setattr(console, "run", received.append)
    for options in (["--port", "82", "--host", "::1"], []):
        assert run("console", *options).exit_code == 0
    assert [(one.console.host, one.console.port) for one in received] == [("::1", 82), ("127.0.0.1", 81)]


def test_an_empty_host_is_refused_as_the_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(monkeypatch, capsys, "serve", "--host", "")  # it would listen at every address
    assert line.startswith("InvalidSettings: serve.host: ")


def test_an_earlier_snapshot_that_is_not_kept_is_refused_before_a_server_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "run", lambda *_, **__: pytest.fail("a server starts"))
    assert "SnapshotMissing: snapshot 9-999 is not in" in fails(monkeypatch, capsys, "serve", "--at", "9-999")


@pytest.mark.usefixtures("every_port_is_free")
def test_an_earlier_snapshot_answers_this_machine_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Path(settings.snapshots.store, settings.log.prefix, "1-2")
    kept.mkdir(parents=True)
    (kept / "manifest.json").touch()
    monkeypatch.setenv("MILLSTREAM_SERVE__HOST", "0.0.0.0")
    started = list[tuple[str, Version | None]]()
    monkeypatch.setattr(serve, "run", lambda used, at=None: started.append((used.serve.host, at)))
    for options in (["--at", "1-2"], ["--at", "1-2", "--host", "127.0.0.1"], []):
        assert run("serve", *options).exit_code == 0
    assert started == [("127.0.0.1", Version(1, 2))] * 2 + [("0.0.0.0", None)]
    assert "--at answers 127.0.0.1 alone" in misused("serve", "--at", "1-2", "--host", "0.0.0.0")
