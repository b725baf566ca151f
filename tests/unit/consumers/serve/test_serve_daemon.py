"""The daemon starts, answers, stops on request, and exits when its follower fails."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from urllib.request import urlopen

import httpx
import pytest

from consumers.serve.daemon import run, serve
from pipeline.config import PolicyParameters, Settings, to_toml
from pipeline.errors import InvalidSettings, LogUnavailable, TopicError
from pipeline.events import Impression, decode
from pipeline.policy.changes import PolicyChange
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until

STARTING_SECONDS = 60


@pytest.fixture
def settings(world: World, backbone_folder: Path) -> Settings:
    """The settings of the world, with a free port and the path of a language model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    changes = {
        "model": world.settings.model.model_copy(update={"backbone": str(backbone_folder)}),
        "serve": world.settings.serve.model_copy(update={"port": port}),
    }
    return world.settings.model_copy(update=changes)


def url(settings: Settings, path: str) -> str:
    return f"http://{settings.serve.host}:{settings.serve.port}{path}"


def is_ready(settings: Settings) -> bool:
    try:
        with urlopen(url(settings, "/readyz")) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_serves_until_stopped(world: World, settings: Settings) -> None:
    world.open()
    stop = Event()
    with ThreadPoolExecutor(1) as threads:
        serving = threads.submit(serve, settings, world.log, stop)
        try:
            wait_until(lambda: is_ready(settings) or serving.done())
            answer = httpx.get(url(settings, "/v1/users/ann/recommendations")).json()
        finally:
            stop.set()
        serving.result(timeout=10)
    assert (answer["source"], answer["snapshot"]) == ("model", "1-1")
    records = world.records(world.topics.impressions)
    assert [record.key for record in records] == ["ann"]


def test_a_promoted_policy_is_used_without_a_restart(world: World, settings: Settings) -> None:
    world.open()
    parameters = PolicyParameters(name="epsilon_greedy", explored_places=1, pool=3, epsilon=0.5)
    promotion = PolicyChange(
        verb="promotion", policy="bolder", parameters=parameters, reason="it earns more", changed_at=0
    )
    stop = Event()

    def policies() -> set[str | None]:
        """The policies of the answers so far, of which one more is asked for."""
        httpx.get(url(settings, "/v1/users/ann/recommendations")).raise_for_status()
        shown = world.records(world.topics.impressions)
        return {decode(Impression, record.value or b"").policy for record in shown}

    with ThreadPoolExecutor(1) as threads:
        serving = threads.submit(serve, settings, world.log, stop)
        try:
            wait_until(lambda: is_ready(settings) or serving.done())
            wait_until(lambda: policies() == {"greedy"})
            with world.log.writer() as writer:
                writer.append(world.topics.policies, promotion.key, promotion.encode())
                writer.flush()
            wait_until(lambda: policies() == {"greedy", "epsilon_greedy"})
        finally:
            stop.set()
        serving.result(timeout=10)


def test_ends_when_its_follower_fails(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.open()
    with ThreadPoolExecutor(1) as threads:
        serving = threads.submit(serve, settings, world.log, Event())
        wait_until(lambda: is_ready(settings) or serving.done())
        world.reader_fails_once(monkeypatch, ZeroDivisionError("a fault of the code"))
        with pytest.raises(ZeroDivisionError, match="a fault of the code"):
            serving.result(timeout=10)


def test_goes_on_when_the_log_was_away(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.open()
    stop = Event()
    with ThreadPoolExecutor(1) as threads:
        serving = threads.submit(serve, settings, world.log, stop)
        wait_until(lambda: is_ready(settings) or serving.done())
        try:
            failed = world.reader_fails_once(monkeypatch, LogUnavailable("the disk is gone"))
            wait_until(lambda: not failed)
            world.act("ann", "blue-lamp")
            route = url(settings, "/v1/model")
            wait_until(lambda: serving.done() or httpx.get(route).json()["unlearned"] == 1)
            wait_until(lambda: httpx.get(route).json()["log_away_seconds"] == 0)
        finally:
            stop.set()
        serving.result(timeout=10)


def test_a_port_that_is_taken_ends_it(world: World, settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind((settings.serve.host, settings.serve.port))
        taken.listen()
        where = f"{settings.serve.host}:{settings.serve.port}"
        with pytest.raises(InvalidSettings, match=f"cannot listen at {where} .* port or host in .serve"):
            serve(settings, world.log, Event())


def test_a_host_that_is_not_here_ends_it(world: World, settings: Settings) -> None:
    serve_config = settings.serve.replace(host="no such host")
    with pytest.raises(InvalidSettings, match=r"cannot listen at no such host:\d+ "):
        serve(settings.model_copy(update={"serve": serve_config}), world.log, Event())


def test_a_store_that_cannot_be_opened_is_refused(world: World, settings: Settings) -> None:
    snapshots = settings.snapshots.replace(store="foo://x")
    with pytest.raises(InvalidSettings, match="snapshots.store: foo://"):
        serve(settings.model_copy(update={"snapshots": snapshots}), world.log, Event())


def test_missing_topics_are_named(world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    elsewhere = settings.log.model_copy(update={"prefix": "elsewhere"})
    with pytest.raises(TopicError, match="millstream topics create"):
        run(settings.model_copy(update={"log": elsewhere}))


def test_a_signal_stops_the_process_cleanly(world: World, settings: Settings) -> None:
    world.open()
    file = world.folder / "millstream.toml"
    file.write_text(to_toml(settings))
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve"]
    process = subprocess.Popen(command, env={**os.environ, "MILLSTREAM_CONFIG": str(file)})
    try:
        wait_until(lambda: is_ready(settings) or process.poll() is not None, STARTING_SECONDS)
        with httpx.Client() as client:  # an open connection does not keep the server alive
            client.get(url(settings, "/healthz"))
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=STARTING_SECONDS) == 0
    finally:
        process.kill()
