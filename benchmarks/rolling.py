"""Measure a rolling restart: two servers behind haproxy, restarted one after the other under requests.

    python -m benchmarks.rolling --restarts 20 --rate 100

Learner, servers and haproxy are processes on one SQLite log. Requests go on at a fixed rate, whatever the
answers take, from before the first restart until after the last. Exit status 1 if a request failed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import httpx
import typer
from rich.console import Console

from deploy.debian import environment, program
from pipeline.demo.processes import Daemons, free_port

SHOP = "shop:seed=3,events=2000"
USERS, THREADS = 200, 16
DRAIN_SECONDS = 3.0
SECONDS_BETWEEN = 1.5
"""After a server is ready again: the proxy has noticed by then."""
PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.1
CONFIG = Path(__file__).parents[1] / "deploy" / "haproxy" / "haproxy.cfg"

console = Console()


class Outcome(NamedTuple):
    """What came of the requests.

    Attributes:
        requests: how many were sent.
        failures: what was wrong with those that failed.
        restarts: of servers.
        p50_ms, p99_ms: of all answers, from when a request was due.
    """

    requests: int
    failures: list[str]
    restarts: int
    p50_ms: float
    p99_ms: float


def measured(folder: Path, restarts: int, rate: float, settings: dict[str, str]) -> Outcome:
    """Restart servers in turn under requests.

    Args:
        folder: for logs and data.
        restarts: how many there are.
        rate: requests a second.
        settings: further settings, as variables.
    """
    ports = free_port(), free_port()
    proxy = f"http://127.0.0.1:{free_port()}"
    with ExitStack() as running:
        servers = [
            running.enter_context(_daemons(folder, f"server-{port}", settings, port)) for port in ports
        ]
        _prepare(running.enter_context(_daemons(folder, "learner", settings, ports[0])))
        for server, port in zip(servers, ports, strict=True):
            _start(server, port)
        running.enter_context(_haproxy(proxy, ports))
        _wait(lambda: _is_ready(proxy), servers)
        with _requests(proxy, rate) as (took, failures):
            for number in range(restarts):
                time.sleep(SECONDS_BETWEEN)
                _restart(servers[number % 2], ports[number % 2])
            time.sleep(SECONDS_BETWEEN)
    cuts = statistics.quantiles(took, n=100)
    return Outcome(len(took) + len(failures), failures, restarts, cuts[49] * 1e3, cuts[98] * 1e3)


@contextmanager
def _daemons(folder: Path, name: str, settings: dict[str, str], port: int) -> Iterator[Daemons]:
    own = folder / name
    own.mkdir(parents=True)
    variables = {
        "MILLSTREAM_LOG__URL": f"sqlite:///{folder}/log.db",
        "MILLSTREAM_LOG__PARTITIONS": "4",
        "MILLSTREAM_SNAPSHOTS__STORE": str(folder / "snapshots"),
        "MILLSTREAM_CHECKPOINTS__FOLDER": str(folder / "checkpoints"),
        "MILLSTREAM_METRICS__LEARN": "0",
        "MILLSTREAM_SERVE__PORT": str(port),
        "MILLSTREAM_SERVE__HTTP__DRAIN_SECONDS": str(DRAIN_SECONDS),
    }
    with Daemons(own, variables | settings) as daemons:
        yield daemons


def _prepare(learner: Daemons) -> None:
    """Make the topics, play a shop, and learn from it."""
    learner.start("topics", "create")
    _wait(lambda: learner.ended("topics"), [])
    learner.start("learn")
    learner.start("play", SHOP)
    _wait(lambda: learner.ended("play"), [])


def _start(server: Daemons, port: int) -> None:
    server.start("serve")
    _wait(lambda: _is_ready(f"http://127.0.0.1:{port}"), [server])


def _restart(server: Daemons, port: int) -> None:
    server.stop("serve")
    _start(server, port)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _wait(done: Callable[[], bool], servers: list[Daemons]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        for server in servers:
            server.check("serve")
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(POLL_SECONDS)


@contextmanager
def _haproxy(proxy: str, ports: tuple[int, int]) -> Iterator[None]:
    addresses = dict(zip(("MILLSTREAM_SERVER_ONE", "MILLSTREAM_SERVER_TWO"), ports, strict=True))
    process = subprocess.Popen(
        [program("haproxy", "haproxy"), "-db", "-f", CONFIG],
        env=environment("haproxy")
        | {name: f"127.0.0.1:{port}" for name, port in addresses.items()}
        | {"MILLSTREAM_PROXY": proxy.removeprefix("http://")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _requests(proxy: str, rate: float) -> Iterator[tuple[list[float], list[str]]]:
    """Send requests at a rate during the block; yield the seconds of answers, and what was wrong."""
    took, failures, stop = list[float](), list[str](), threading.Event()
    began = time.monotonic()

    def ask(thread: int) -> None:
        with httpx.Client(base_url=proxy, timeout=30) as client:
            number = thread
            while not stop.wait(max(0.0, began + number / rate - time.monotonic())):
                if fault := _fault(client, number):
                    failures.append(f"request {number}: {fault}")
                else:
                    took.append(time.monotonic() - began - number / rate)
                number += THREADS

    with ThreadPoolExecutor(THREADS) as threads:
        asking = [threads.submit(ask, thread) for thread in range(THREADS)]
        try:
            yield took, failures
        finally:
            stop.set()
    for one in asking:
        one.result()


def _fault(client: httpx.Client, number: int) -> str:
    """Ask for recommendations; say what is wrong with the answer."""
    try:
        answer = client.get(f"/v1/users/u{number % USERS}/recommendations")
    except httpx.HTTPError as error:
        return repr(error)
    return "" if answer.status_code == 200 and answer.json()["items"] else f"status {answer.status_code}"


def main(
    restarts: Annotated[int, typer.Option(min=1, help="Restarts of servers, in turn.")] = 20,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second.")] = 100,
) -> None:
    """Restart two servers in turn behind haproxy, under requests; exit status 1 if one failed."""
    with TemporaryDirectory() as folder:
        outcome = measured(Path(folder), restarts, rate, {})
    console.print(
        f"{outcome.restarts} restarts, {outcome.requests:,} requests at {rate:g}/s, "
        f"{len(outcome.failures)} failed; p50 {outcome.p50_ms:.1f} ms, p99 {outcome.p99_ms:.1f} ms, "
        f"{os.cpu_count()} cores"
    )
    for failure in outcome.failures[:20]:
        console.print(failure, markup=False)
    raise typer.Exit(bool(outcome.failures))


if __name__ == "__main__":
    typer.run(main)
