"""Ask a server for every user of a data set, over many connections; one answer that is not 2xx fails.

    python -m benchmarks.load --data shop:events=5000 --connections 16

Plays the data into a new SQLite log, starts a learner and a server, and asks as soon as a snapshot is served,
so that many more are swapped meanwhile.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import quote

import httpx
import typer
from rich.console import Console

from pipeline.config import load_settings
from pipeline.datasets import open_dataset
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction
from producers.play import flat_out, play

TIMEOUT_SECONDS = 30.0
SETTLE_SECONDS = 0.2
STARTING_SECONDS = 300.0


class Load(NamedTuple):
    """What became of the requests.

    Attributes:
        statuses: number of answers by status; 0 where there was none.
        sources: number of answers by what ranked the items, the model or popularity; or by the error.
        latencies: seconds of each answer, sorted.
        seconds: from the first request to the last answer.
    """

    statuses: Counter[int]
    sources: Counter[str]
    latencies: list[float]
    seconds: float

    @property
    def failures(self) -> int:
        """Number of answers that are not 2xx."""
        return sum(amount for status, amount in self.statuses.items() if status // 100 != 2)

    def percentile(self, share: float) -> float:
        """Return the latency that a share of the answers stays below, in ms."""
        return 1_000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Asked(NamedTuple):
    """One answer: its status, what ranked the items or went wrong, and the seconds that it took."""

    status: int
    source: str
    seconds: float


def load(url: str, users: Sequence[str], connections: int, rounds: int = 1) -> Load:
    """Ask for all users, some at the same time; each connection is kept alive."""
    began = time.monotonic()
    shares = [[*users[number::connections]] * rounds for number in range(connections)]
    with ThreadPoolExecutor(connections) as threads:
        answers = [asked for share in threads.map(lambda own: _ask(url, own), shares) for asked in share]
    return Load(
        Counter(asked.status for asked in answers),
        Counter(asked.source for asked in answers),
        sorted(asked.seconds for asked in answers),
        time.monotonic() - began,
    )


def _ask(url: str, users: Sequence[str]) -> list[Asked]:
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
        return [_asked(client, user) for user in users]


def _asked(client: httpx.Client, user: str) -> Asked:
    began = time.monotonic()
    try:
        answer = client.get(f"/v1/users/{quote(user, safe='')}/recommendations")
        source = answer.json()["source"] if answer.status_code == 200 else answer.text[:80]
        return Asked(answer.status_code, source, time.monotonic() - began)
    except (httpx.HTTPError, ValueError) as error:
        return Asked(0, f"{type(error).__name__}: {error}", time.monotonic() - began)


def users_of(data: str) -> list[str]:
    """Return the users of a data set, in the order of their first acts."""
    events = open_dataset(data).events()
    return list(dict.fromkeys(event.user for event in events if isinstance(event, Interaction)))


@contextmanager
def _serving(folder: Path, data: str) -> Iterator[str]:
    """Play a data set; run a learner and a server; yield the server's URL once it is ready."""
    port = free_port()
    environment = {
        "MILLSTREAM_LOG__URL": f"sqlite:///{folder}/log.db",
        "MILLSTREAM_SNAPSHOTS__STORE": str(folder / "snapshots"),
        "MILLSTREAM_CHECKPOINTS__FOLDER": str(folder / "checkpoints"),
        "MILLSTREAM_METRICS__LEARN": str(free_port()),
        "MILLSTREAM_SERVE__PORT": str(port),
    }
    os.environ.update(environment)
    _fill_log(data)
    with Daemons(folder, environment) as daemons:
        for command in ("learn", "serve"):
            daemons.start(command)
        _wait_until_served(daemons, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
        daemons.check("learn", "serve")


def _fill_log(data: str) -> None:
    settings = load_settings()
    topics = Topics(settings.log.prefix)
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        topics.create(event_log, *settings.log.topic_sizes)
        with event_log.writer() as writer:
            play(open_dataset(data), writer, topics, flat_out)


def _wait_until_served(daemons: Daemons, url: str) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline:
        daemons.check("learn", "serve")
        try:
            if httpx.get(f"{url}/readyz").json()["snapshot"] is not None:
                return
        except (httpx.HTTPError, KeyError, ValueError):
            pass
        time.sleep(SETTLE_SECONDS)
    raise TimeoutError("no snapshot was served")


def main(data: str = "shop:events=5000", connections: int = 16, rounds: int = 1) -> None:
    """Print statuses, sources and latencies as JSON; exit status 1 if an answer was not 2xx."""
    with TemporaryDirectory() as folder, _serving(Path(folder), data) as url:
        found = load(url, users_of(data), connections, rounds)
    figures = {
        "statuses": {str(status): amount for status, amount in found.statuses.items()},
        "sources": dict(found.sources),
        "requests_per_second": round(len(found.latencies) / found.seconds, 1),
        "p50_ms": round(found.percentile(0.5), 1),
        "p99_ms": round(found.percentile(0.99), 1),
        "longest_ms": round(found.percentile(1), 1),
        "failures": found.failures,
    }
    Console().print_json(json.dumps(figures))
    raise typer.Exit(bool(found.failures))


if __name__ == "__main__":
    typer.run(main)
