"""How many personal requests a server answers beside a learner that publishes, by workers and connections.

    python -m benchmarks.throughput --items 100000 --workers 1 --workers 2
    python -m benchmarks.throughput --items 100000 --workers 1 --runtime torch --runtime onnx
    python -m benchmarks.throughput --items 100000 --workers 2 --offered 400 --offered 600 --offered 800

Learner and server are processes on an embedded log, and `wrk`, which must be installed, asks for random users
without a pause on each connection. Acts are appended meanwhile, so that snapshots are published and swapped.
With `--offered`, `vegeta` asks at a steady rate instead, whether answers come or not: without a pause, a
server that takes twice as long is asked half as often, and p99 cannot be under connections / rate.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.feed import Feed, act_of
from pipeline.cli.terminal import ReportOption
from pipeline.config import load_settings
from pipeline.demo.processes import Daemons, free_port
from pipeline.errors import MillstreamError
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.events import encode
from pipeline.metrics import Series, scrape, value_of

USERS, ACTS = 1_000, 20_000
WARM_UP_SECONDS, START_SECONDS, POLL_SECONDS = 3, 1_800.0, 0.5
KIB_PER_MIB, WIDTH = 1_024, 120
NS_PER_MS, NS_PER_S = 1e6, 1e9
HELD_MS, HELD_SHARE = 25, 0.99
"""A rate is held if p99 is not above, and so large a share of it was answered."""
MOST_WORKERS = 512
"""Requests under way at most, of `vegeta`; beyond them it falls behind its rate."""
GORSE = ("gorse", "", "", "200", "", "8–10", "", "", "", "")
"""Measured before: lists that were computed before, for a catalogue of 2,500 items."""
SCRIPT = """
request = function()
  return wrk.format("GET", "/v1/users/u" .. math.random(0, {users} - 1) .. "/recommendations")
end
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("FIGURES %d %f %f %f %d\\n", summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class Asked(NamedTuple):
    """What wrk or vegeta saw: requests, seconds, percentiles in ms, and answers that failed or never came."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int


class Connections(NamedTuple):
    """Asked by wrk without a pause on each of so many connections."""

    number: int

    def check(self) -> None:
        """Look for wrk.

        Raises:
            typer.BadParameter: it is not installed.
        """
        _check_installed("wrk", "apt-get install wrk")

    def ask(self, url: str, folder: Path, seconds: int) -> Asked:
        """Ask for some seconds."""
        script = folder / "users.lua"
        script.write_text(SCRIPT.format(users=USERS))
        command = ["wrk", "-t1", f"-c{self.number}", f"-d{seconds}s", "--latency", "-s", str(script), url]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (found,) = [line.split()[1:] for line in printed.splitlines() if line.startswith("FIGURES")]
        seconds_taken, p50_ms, p99_ms = map(float, found[1:4])
        return Asked(int(found[0]), seconds_taken, p50_ms, p99_ms, int(found[4]))

    def __str__(self) -> str:
        return str(self.number)


class Offered(NamedTuple):
    """Asked by vegeta at a steady rate, requests a second."""

    rate: int

    def check(self) -> None:
        """Look for vegeta.

        Raises:
            typer.BadParameter: it is not installed.
        """
        _check_installed("vegeta", "go install github.com/tsenart/vegeta/v12@v12.12.0")

    def ask(self, url: str, folder: Path, seconds: int) -> Asked:
        """Ask for some seconds."""
        targets, found = folder / "targets.txt", folder / "found.bin"
        users = np.random.default_rng(0).permutation(USERS)
        targets.write_text("".join(f"GET {url}/v1/users/u{user}/recommendations\n" for user in users))
        attack = ["vegeta", "attack", f"-targets={targets}", f"-rate={self.rate}/s", f"-duration={seconds}s"]
        subprocess.run([*attack, f"-max-workers={MOST_WORKERS}", f"-output={found}"], check=True)
        report = ["vegeta", "report", "-type=json", str(found)]
        printed = json.loads(subprocess.run(report, capture_output=True, text=True, check=True).stdout)
        latencies, requests = printed["latencies"], printed["requests"]
        return Asked(
            requests,
            (printed["duration"] + printed["wait"]) / NS_PER_S,
            latencies["50th"] / NS_PER_MS,
            latencies["99th"] / NS_PER_MS,
            requests - printed["status_codes"].get("200", 0),
        )

    def __str__(self) -> str:
        return f"{self.rate:,}/s"


def _check_installed(program: str, remedy: str) -> None:
    if shutil.which(program) is None:
        raise typer.BadParameter(f"{program} is not installed: {remedy}")


class Server(NamedTuple):
    """How a server is started: `serve.runtime` and `serve.workers`."""

    runtime: str
    workers: int


class Row(NamedTuple):
    """The figures of a server that is asked in some way.

    Attributes:
        asked: over so many connections without a pause, or at a rate: "64" or "800/s".
        swaps: snapshots swapped in meanwhile, by all workers together.
        cpu_ms: of all workers, for each request.
        pss_mib: of parent and workers, each shared page in parts.
        load: of the machine, at the end.
    """

    runtime: str
    workers: int
    asked: str
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    swaps: int
    cpu_ms: float
    pss_mib: Sequence[float]
    load: float


def main(
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 5_000,
    titles: Annotated[int, typer.Option(help="Distinct titles among them.")] = 2_000,
    workers: Annotated[list[int], typer.Option(help="Workers of a server, of each measured.")] = [1, 2],  # noqa: B006
    runtime: Annotated[list[str], typer.Option(help="What computes the tower, of each.")] = ["torch"],  # noqa: B006
    connections: Annotated[list[int], typer.Option(help="Connections, of each measured.")] = [4, 16, 64],  # noqa: B006
    seconds: Annotated[int, typer.Option(help="Seconds of each measurement.")] = 20,
    rate: Annotated[float, typer.Option(help="Acts a second beside them.")] = 50,
    offered: Annotated[
        list[int], typer.Option(help="Requests a second, of each measured, instead of connections.")
    ] = [],  # noqa: B006
    report: ReportOption = None,
) -> None:
    """Measure each runtime and number of workers, asked in each way, and print a table."""
    ways: list[Connections | Offered] = [Offered(each) for each in offered]
    ways = ways or [Connections(each) for each in connections]
    ways[0].check()
    servers = [Server(way, count) for count in workers for way in runtime]
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            row
            for server, feed, urls in _servers(folder, items, titles, servers)
            for row in _rows(folder, feed, urls, server, ways, seconds, rate)
        ]
    console = Console(width=WIDTH)
    console.print(_table(items, rows))
    if offered:
        for line in _held(rows):
            console.print(line)
    if report:
        report.write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n")


def _servers(
    folder: Path, items: int, titles: int, servers: Sequence[Server]
) -> Iterator[tuple[Server, Feed, list[str]]]:
    """Let a learner learn a catalogue; yield one server after the other, with the URLs of its metrics."""
    port, learn = free_port(), free_port()
    environment = {
        "MILLSTREAM_LOG__URL": f"sqlite:///{folder}/log.db",
        "MILLSTREAM_SNAPSHOTS__STORE": str(folder / "snapshots"),
        "MILLSTREAM_CHECKPOINTS__FOLDER": str(folder / "checkpoints"),
        "MILLSTREAM_MODEL__CACHE": str(folder / "cache"),
        "MILLSTREAM_METRICS__LEARN": str(learn),
        "MILLSTREAM_SERVE__PORT": str(port),
    }
    os.environ.update(environment)
    settings = load_settings()
    with closing(open_log(settings.log.url)) as log, Daemons(folder, environment) as learner:
        topics = Topics(settings.log.prefix)
        topics.create(log, *settings.log.topic_sizes)
        feed = Feed(log, topics, f"http://127.0.0.1:{port}", titles)
        feed.add_items(0, items)
        _add_acts(feed, items)
        learner.start("learn")
        _wait_until(learner, "learn", partial(_has_learned, f"http://127.0.0.1:{learn}/metrics", items))
        for one in servers:
            first = free_port()
            more = {
                "MILLSTREAM_SERVE__RUNTIME": one.runtime,
                "MILLSTREAM_SERVE__WORKERS": str(one.workers),
                "MILLSTREAM_METRICS__SERVE": str(first),
            }
            ports = range(first, first + one.workers) if one.workers > 1 else [port]
            urls = [f"http://127.0.0.1:{each}/metrics" for each in ports]
            with Daemons(folder, environment | more) as server:
                server.start("serve")
                _wait_until(server, "serve", partial(_all_serve, urls))
                yield one, feed, urls
                server.check("serve")
        learner.check("learn")


def _add_acts(feed: Feed, items: int) -> None:
    """Let each user act on some items."""
    random = np.random.default_rng(0)
    with feed.log.writer() as writer:
        for number in range(ACTS):
            act = act_of(f"a{number}", f"u{number % USERS}", f"i{int(items * random.random() ** 3)}")
            writer.append(feed.topics.interactions, act.user, encode(act))
        writer.flush()


def _wait_until(daemons: Daemons, command: str, condition: partial[bool]) -> None:
    """Wait for a daemon.

    Raises:
        MillstreamError: it ended, or the condition was not true in START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        daemons.check(command)
        if time.monotonic() > deadline:
            raise MillstreamError(f"{command} was not ready in {START_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


def _has_learned(url: str, items: int) -> bool:
    series = _scraped(url)
    known = value_of(series, "millstream_items", daemon="learn")
    learned = value_of(series, "millstream_events_total", daemon="learn")
    return known >= items and learned >= ACTS


def _all_serve(urls: Sequence[str]) -> bool:
    return all(value_of(_scraped(url), "millstream_swaps_total") for url in urls)


def _scraped(url: str) -> Series:
    """Scrape; nothing where nobody answers yet."""
    try:
        return scrape(url, timeout_seconds=30)
    except OSError:
        return {}


def _rows(
    folder: Path,
    feed: Feed,
    urls: Sequence[str],
    server: Server,
    ways: Sequence[Connections | Offered],
    seconds: int,
    rate: float,
) -> Iterator[Row]:
    """Ask a server in some ways, the last one for warming up, while acts are learned and published."""
    with _acting(feed, rate):
        ways[-1].ask(feed.url, folder, WARM_UP_SECONDS)
        for way in ways:
            before = [_scraped(url) for url in urls]
            asked = way.ask(feed.url, folder, seconds)
            after = [_scraped(url) for url in urls]
            yield Row(
                *server,
                str(way),
                asked.requests / asked.seconds,
                asked.p50_ms,
                asked.p99_ms,
                asked.errors,
                int(_grown("millstream_swaps_total", before, after)),
                1_000 * _grown("process_cpu_seconds_total", before, after) / asked.requests,
                _pss_mib(),
                os.getloadavg()[0],
            )


@contextmanager
def _acting(feed: Feed, rate: float) -> Iterator[None]:
    with ThreadPoolExecutor(1) as threads:
        feed.stop.clear()
        acting = threads.submit(feed.act, rate)
        try:
            yield
        finally:
            feed.stop.set()
            acting.result()


def _grown(name: str, before: Sequence[Series], after: Sequence[Series]) -> float:
    return sum(
        value_of(late, name) - value_of(early, name) for early, late in zip(before, after, strict=True)
    )


def _pss_mib() -> list[float]:
    """Return the proportional set sizes of the processes of the server, its parent first."""
    serving = [process for process in _descendants(os.getpid()) if _serves(process)]
    return [_pss_kib(process) / KIB_PER_MIB for process in serving]


def _descendants(process: int) -> Iterator[int]:
    """Yield the processes that a process has started, and those that they have."""
    for tasks in Path(f"/proc/{process}/task").iterdir():
        for child in map(int, (tasks / "children").read_text().split()):
            yield child
            yield from _descendants(child)


def _serves(process: int) -> bool:
    command = Path(f"/proc/{process}/cmdline").read_bytes()
    return b"\0serve\0" in command or b"spawn_main" in command


def _pss_kib(process: int) -> int:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _held(rows: Sequence[Row]) -> Iterator[str]:
    """Say of each server which is the highest rate that it held."""
    for server in dict.fromkeys(Server(row.runtime, row.workers) for row in rows):
        own = [row for row in rows if (row.runtime, row.workers) == server]
        held = [row for row in own if _is_held(row)]
        best = max(held, key=lambda row: row.requests_per_second).asked if held else "none"
        name = f"{server.runtime}, {server.workers} workers"
        yield f"{name}: the highest rate held with p99 of {HELD_MS} ms at most is {best}"


def _is_held(row: Row) -> bool:
    rate = float(row.asked.replace(",", "").removesuffix("/s"))
    return row.p99_ms <= HELD_MS and not row.errors and row.requests_per_second >= HELD_SHARE * rate


def _table(items: int, rows: Sequence[Row]) -> Table:
    table = Table(
        f"{items:,} items\nruntime",
        *("workers", "asked", "requests/s", "p50, ms", "p99, ms", "errors", "swaps", "CPU, ms"),
        "PSS, MiB",
        "load",
    )
    for row in rows:
        figures = (row.requests_per_second, row.p50_ms, row.p99_ms)
        table.add_row(
            row.runtime,
            str(row.workers),
            row.asked,
            *(f"{figure:,.1f}" for figure in figures),
            *(f"{row.errors:,}", f"{row.swaps:,}", f"{row.cpu_ms:.2f}"),
            " + ".join(f"{size:,.0f}" for size in row.pss_mib),
            f"{row.load:.1f}",
        )
    table.add_row(*GORSE)
    return table


if __name__ == "__main__":
    typer.run(main)
