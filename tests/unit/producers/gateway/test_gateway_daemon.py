"""The daemon takes events in, stops on request, and says what is in the way at the start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import httpx
import pytest

from pipeline.config import GatewayConfig, LogConfig, Settings, to_toml
from pipeline.demo.processes import free_port
from pipeline.errors import InvalidSettings, TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics
from producers.gateway.daemon import run, serve
from tests.support.gateway_harness import VIEW
from tests.support.serve_tools import wait_until

HEAD = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        log=LogConfig(url=f"sqlite:///{tmp_path}/log.db", partitions=2),
        gateway=GatewayConfig(port=free_port(), max_body_bytes=2_000),
    )


@pytest.fixture
def event_log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log.url) as made:
        Topics(settings.log.prefix).create(made, *settings.log.topic_sizes)
        yield made


def url(settings: Settings, path: str) -> str:
    return f"http://127.0.0.1:{settings.gateway.port}{path}"


def is_ready(settings: Settings) -> bool:
    try:
        return httpx.get(url(settings, "/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


def connected(settings: Settings) -> socket.socket:
    return socket.create_connection(("127.0.0.1", settings.gateway.port), timeout=10)


@contextmanager
def serving(settings: Settings, event_log: EventLog) -> Iterator[None]:
    stop = Event()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(serve, settings, event_log, stop)
        try:
            wait_until(lambda: is_ready(settings) or running.done())
            yield
        finally:
            stop.set()
        running.result(timeout=10)


def test_takes_in_events_until_stopped(settings: Settings, event_log: EventLog) -> None:
    with serving(settings, event_log):
        assert httpx.post(url(settings, "/v1/interactions"), json=VIEW).status_code == 202
    assert len(list(read(event_log, Topics(settings.log.prefix).interactions))) == 1


def test_an_endless_body_is_not_read_to_its_end(settings: Settings, event_log: EventLog) -> None:
    answer, chunk = b"", b"3e8\r\n" + b" " * 1_000 + b"\r\n"
    with serving(settings, event_log), connected(settings) as sender:
        sender.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + 3 * chunk)
        while part := sender.recv(4_096):  # the connection ends, although the body does not
            answer += part
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_sender_that_goes_away_leaves_nothing_behind(
    settings: Settings, event_log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(settings, event_log):
        for _ in range(settings.gateway.max_in_flight + 1):
            with connected(settings) as sender:
                sender.sendall(HEAD + b"Content-Length: 9\r\n\r\n[")
        wait_until(lambda: httpx.post(url(settings, "/v1/interactions"), json=VIEW).status_code == 202)
    assert "Exception" not in caplog.text


def test_a_port_that_is_taken_ends_it(settings: Settings, event_log: EventLog) -> None:
    with socket.create_server(("127.0.0.1", settings.gateway.port)):
        where = f"127.0.0.1:{settings.gateway.port}"
        with pytest.raises(InvalidSettings, match=f"cannot listen at {where} .* port or host in .gateway"):
            serve(settings, event_log, Event())


def test_missing_topics_are_named(
    settings: Settings, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    elsewhere = settings.log.replace(prefix="elsewhere")
    with pytest.raises(TopicError, match="millstream topics create"):
        run(settings.model_copy(update={"log": elsewhere}))


def test_a_signal_stops_the_process_cleanly(settings: Settings, event_log: EventLog, tmp_path: Path) -> None:
    file = tmp_path / "millstream.toml"
    file.write_text(to_toml(settings))
    command = [sys.executable, "-m", "pipeline.cli", "gateway"]
    process = subprocess.Popen(command, env={**os.environ, "MILLSTREAM_CONFIG": str(file)})
    try:
        wait_until(lambda: is_ready(settings) or process.poll() is not None, 60)
        with httpx.Client() as client:  # an open connection does not keep the gateway alive
            assert client.post(url(settings, "/v1/interactions"), json=VIEW).status_code == 202
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
    finally:
        process.kill()
    assert len(list(read(event_log, Topics(settings.log.prefix).interactions))) == 1
