"""Post events to a gateway on a new log; print how many a second it acknowledges, as JSON.

    python -m benchmarks.gateway --batch 1000 --seconds 10
    python -m benchmarks.gateway --batch 1 --connections 32 --engine kafka

The senders share the machine with the gateway, so they are made of the plainest client that Python has.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import orjson
import typer
from rich.console import Console

from deploy.kafka.broker import Broker
from pipeline.config import LogConfig
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.port import read
from pipeline.eventlog.topics import Topics

STARTING_SECONDS = 60.0
SETTLE_SECONDS = 0.1
HEADERS = {"Content-Type": "application/x-ndjson"}


class Sent(NamedTuple):
    """What one sender did: acknowledged events, and the seconds that each request took."""

    events: int
    latencies: list[float]


def send(port: int, sender: int, batch: int, seconds: float) -> Sent:
    """Post batches one after the other over one connection.

    Raises:
        RuntimeError: an answer is not 202.
    """
    connection, latencies, number = HTTPConnection("127.0.0.1", port, timeout=60), list[float](), 0
    deadline = time.monotonic() + seconds
    with closing(connection):
        while (began := time.monotonic()) < deadline:
            connection.request("POST", "/v1/interactions", _body(sender, number, batch), HEADERS)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 202:
                raise RuntimeError(f"{answer.status}: {text[:200]!r}")
            latencies.append(time.monotonic() - began)
            number += 1
    return Sent(number * batch, latencies)


def _body(sender: int, number: int, batch: int) -> bytes:
    """Make a batch of purchases such as a shop sends them, about 150 bytes each."""
    name = f"{sender}-{number}"
    template = orjson.dumps(
        {
            "v": 2,
            "kind": "interaction",
            "event_id": f"order-{name}-LINE",
            "user": f"user-{name}",
            "item": "85123A",
            "type": "purchase",
            "time": 1_790_000_000_000,
            "value": 6,
            "session": f"order-{name}",
        }
    ).decode()
    return "\n".join([template.replace("LINE", str(line)) for line in range(batch)]).encode()


@contextmanager
def _log(folder: Path, engine: str) -> Iterator[str]:
    """Yield the URL of a new log; its broker, if any, runs beside the gateway."""
    if engine == "sqlite":
        yield f"sqlite:///{folder}/log.db"
        return
    with Broker(folder / "kafka", quick_start=True) as broker:
        yield broker.url


@contextmanager
def _gateway(folder: Path, url: str) -> Iterator[int]:
    """Run a gateway on a log; yield its port once it listens."""
    port = free_port()
    with closing(open_log(url)) as event_log:
        Topics("millstream").create(event_log, *LogConfig().topic_sizes)
    with Daemons(folder, {"MILLSTREAM_LOG__URL": url, "MILLSTREAM_GATEWAY__PORT": str(port)}) as daemons:
        daemons.start("gateway")
        _wait(port, daemons)
        yield port
        daemons.check("gateway")


def _wait(port: int, daemons: Daemons) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline:
        daemons.check("gateway")
        try:
            with closing(HTTPConnection("127.0.0.1", port)) as connection:
                connection.request("GET", "/readyz")
                connection.getresponse()
                return
        except OSError:
            time.sleep(SETTLE_SECONDS)
    raise TimeoutError("the gateway does not listen")


def main(
    batch: int = 1_000,
    connections: int = 4,
    seconds: float = 10.0,
    engine: Annotated[str, typer.Option(help="sqlite or kafka: where the event log is.")] = "sqlite",
) -> None:
    """Print events per second, latencies in ms, and whether the log holds what was acknowledged."""
    with (
        TemporaryDirectory() as folder,
        _log(Path(folder), engine) as url,
        _gateway(Path(folder), url) as port,
    ):
        began = time.monotonic()
        with ThreadPoolExecutor(connections) as threads:
            sent = [*threads.map(lambda sender: send(port, sender, batch, seconds), range(connections))]
        elapsed = time.monotonic() - began
        with closing(open_log(url)) as event_log:
            stored = sum(1 for _ in read(event_log, Topics("millstream").interactions))
    latencies = sorted(latency for one in sent for latency in one.latencies)
    events = sum(one.events for one in sent)
    figures = {
        "batch": batch,
        "connections": connections,
        "events_per_second": round(events / elapsed),
        "p50_ms": round(1_000 * latencies[len(latencies) // 2], 1),
        "p99_ms": round(1_000 * latencies[int(0.99 * len(latencies))], 1),
        "acknowledged": events,
        "stored": stored,
    }
    Console().print_json(json.dumps(figures))
    raise typer.Exit(stored != events)


if __name__ == "__main__":
    typer.run(main)
