"""Several processes answer at one port; one that ends is replaced, and all end with their parent."""

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

from consumers.serve.workers import FIRST_PAUSE_SECONDS, STEADY_SECONDS, Slot, WorkerDied, watch
from pipeline.config import ServeConfig, Settings, to_toml
from pipeline.metrics import scrape, value_of
from tests.support import worker_tools
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until

STARTING_SECONDS = 90
USERS = [f"user{number}" for number in range(20)]


def free_ports() -> tuple[int, int]:
    """Return a port, and the first of two in a row, that are free now.

    They are below those that systems give to clients, so that none is taken before the workers listen.
    """
    for port in range(20_000 + 3 * (os.getpid() % 3_000), 32_000, 3):
        if all(map(_is_free, range(port, port + 3))):
            return port, port + 1
    raise AssertionError("no three ports in a row are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def settings(world: World, backbone_folder: Path) -> Settings:
    port, first = free_ports()
    changes = {
        "model": world.settings.model.model_copy(update={"backbone": str(backbone_folder)}),
        "serve": world.settings.serve.model_copy(update={"port": port, "workers": 2}),
        "metrics": world.settings.metrics.model_copy(update={"serve": first}),
    }
    return world.settings.model_copy(update=changes)


@contextmanager
def running(folder: Path, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run `millstream serve` with the settings; yield its parent once all workers answer."""
    file = folder / "millstream.toml"
    file.write_text(to_toml(settings))
    command = [sys.executable, "-m", "pipeline.cli", "serve"]
    with subprocess.Popen(command, env={**os.environ, "MILLSTREAM_CONFIG": str(file)}) as parent:
        try:
            wait_until(lambda: len(serving(settings)) == 2 or parent.poll() is not None, STARTING_SECONDS)
            yield parent
        finally:
            parent.terminate()


def serving(settings: Settings) -> dict[int, str]:
    """Return the version that each worker serves, of those that serve any."""
    return {
        number: f"{value_of(series, 'millstream_generation', daemon='serve'):.0f}-"
        f"{value_of(series, 'millstream_step', daemon='serve'):.0f}"
        for number in range(2)
        if (series := scraped(settings, number)) and value_of(series, "millstream_swaps_total")
    }


def scraped(settings: Settings, number: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    try:
        return dict(scrape(f"http://127.0.0.1:{settings.metrics.serve + number}/metrics"))
    except OSError:
        return {}


def workers_of(parent: subprocess.Popen[bytes]) -> list[int]:
    """Return the processes of the workers, oldest first."""
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def asked(settings: Settings, user: str) -> int:
    """Ask on a connection of its own; return the status."""
    url = f"http://127.0.0.1:{settings.serve.port}/v1/users/{user}/recommendations"
    return httpx.get(url, timeout=STARTING_SECONDS).status_code


def answered(settings: Settings, number: int) -> float:
    """Return how many requests a worker has answered."""
    labels = {"route": "/v1/users/{user}/recommendations", "status": "200"}
    return value_of(scraped(settings, number), "millstream_request_seconds_count", **labels)


def restarts(settings: Settings, number: int) -> float:
    return value_of(scraped(settings, number), "millstream_worker_restarts_total")


def test_two_workers_answer_swap_outlive_one_another_and_drain(world: World, settings: Settings) -> None:
    world.open()
    with running(world.folder, settings) as parent:
        # Both take part: a hundred connections that the kernel divides all go to one with 2^-99.
        assert {asked(settings, user) for user in 5 * USERS} == {200}
        assert answered(settings, 0) and answered(settings, 1)
        assert httpx.get(f"http://127.0.0.1:{settings.serve.port}/metrics").status_code == 404

        stop = Event()
        with ThreadPoolExecutor(1) as threads:
            asking = threads.submit(ask_until, settings, stop)
            world.act("ann", "blue-lamp")
            world.learn()
            world.publish()
            wait_until(lambda: serving(settings) == {0: "1-2", 1: "1-2"} or asking.done(), STARTING_SECONDS)
            stop.set()
            assert asking.result() == {200}

        killed = workers_of(parent)[-1]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{killed}").exists())  # closed, so that nobody connects to it
        assert {asked(settings, user) for user in USERS} == {200}
        wait_until(lambda: len(serving(settings)) == 2, STARTING_SECONDS)
        restarts = [
            value_of(scraped(settings, number), "millstream_worker_restarts_total") for number in (0, 1)
        ]
        assert sorted(restarts) == [0, 1]
        assert {asked(settings, user) for user in USERS} == {200}

        children = workers_of(parent)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(STARTING_SECONDS) == 0
        assert not [child for child in children if Path(f"/proc/{child}").exists()]


def ask_until(settings: Settings, stop: Event) -> set[int]:
    """Ask without a pause; return the statuses."""
    found = set[int]()
    while not stop.is_set():
        found.update(asked(settings, user) for user in USERS)
    return found


def test_a_port_that_is_taken_ends_it(world: World, settings: Settings) -> None:
    with socket.create_server((settings.serve.host, settings.serve.port)):
        ended = run_to_its_end(world.folder, settings)
    assert ended.returncode == 1
    assert "cannot listen at" in ended.stderr


def test_a_fault_that_all_workers_share_ends_it(world: World, settings: Settings) -> None:
    log = settings.log.model_copy(update={"prefix": "elsewhere"})
    ended = run_to_its_end(world.folder, settings.model_copy(update={"log": log}))
    assert ended.returncode == 1
    assert "TopicError: " in ended.stderr and "WorkerDied: " in ended.stderr


def run_to_its_end(folder: Path, settings: Settings) -> subprocess.CompletedProcess[str]:
    file = folder / "millstream.toml"
    file.write_text(to_toml(settings))
    environment = {**os.environ, "MILLSTREAM_CONFIG": str(file), "COLUMNS": "200"}
    command = [sys.executable, "-m", "pipeline.cli", "serve"]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=STARTING_SECONDS, check=False
    )


def test_the_parent_loads_no_torch() -> None:
    program = "import sys, consumers.serve.workers, pipeline.cli.daemons; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_one_that_fails_before_any_answers_ends_it() -> None:
    with pytest.raises(WorkerDied, match="worker 0 ended with status 3, before any could answer"):
        watch([Slot(Settings(), worker_tools.fails, 0)], Event())


def test_each_further_pause_is_twice_as_long_until_a_worker_is_steady() -> None:
    now = [0.0]
    slot = Slot(Settings(), worker_tools.fails, 0, clock=lambda: now[0])

    def pause() -> float:
        """Let the process end; return after how many seconds another one starts."""
        before = slot.process
        before.join(30)
        began = now[0]
        while slot.process is before:
            slot.replace_ended(can_answer=True)
            now[0] += FIRST_PAUSE_SECONDS / 2
        return now[0] - began - FIRST_PAUSE_SECONDS / 2

    slot.start()
    assert [pause(), pause(), pause()] == [0.5, 1.0, 2.0]
    slot.process.join(30)
    now[0] += STEADY_SECONDS
    assert pause() == FIRST_PAUSE_SECONDS
    slot.stop()
    slot.join()


def test_workers_need_a_port() -> None:
    with pytest.raises(ValueError, match="several workers need a port"):
        ServeConfig(workers=2, port=0)
