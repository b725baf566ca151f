"""Measure an outage: Kafka away for minutes under requests; what fails, when work resumes, what is lost.

    python -m benchmarks.away --seconds 600 --rate 50

Learner, server and player are processes on one real broker, which is killed (or frozen, with
--freeze) and comes back later. Requests go on at a fixed rate from before the outage until the
end. After it, everything that was played must be learned exactly once, which `audit` finds out.
Exit status 1 if a request failed, work resumed later than 5 seconds, or the audit found anything.
"""

from __future__ import annotations

import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple, Self
from urllib.request import urlopen

import orjson
import typer
from rich.console import Console

from consumers.audit.audit import audit
from consumers.audit.check import AuditCheck
from deploy.kafka.broker import Broker
from pipeline.config import (
    CheckpointConfig,
    LogConfig,
    MetricsConfig,
    ServeConfig,
    Settings,
    SnapshotConfig,
    to_toml,
)
from pipeline.config.settings import FILE_VARIABLE
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.metrics import scrape, value_of
from pipeline.reports.audit import audit_page

EVENTS_PER_SECOND = 50
SECONDS_BEFORE, SECONDS_AFTER = 20, 20
"""Of playing, before and after the outage."""
MOST_RESUME_SECONDS = 5.0
USERS, THREADS = 600, 8
PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.05


class Outage(NamedTuple):
    """How many seconds the broker is away at least, and whether it is frozen instead of killed."""

    seconds: float
    freeze: bool


class Resumed(NamedTuple):
    """Seconds from the broker's first answer until an event is learned, and until it is served."""

    learned: float
    served: float


@dataclass(frozen=True)
class Outcome:
    """What came of some outages.

    Attributes:
        resumed: after each outage.
        seconds: of each request.
        failures: of requests.
        away_seconds: how long the log was away at most, as answers said.
        checks: of the audit.
    """

    resumed: list[Resumed]
    seconds: list[float]
    failures: list[str]
    away_seconds: float
    checks: list[AuditCheck]

    @property
    def findings(self) -> list[str]:
        """Whatever is wrong, but for the time that resuming took."""
        return self.failures + [finding for check in self.checks for finding in check.findings]

    @property
    def is_late(self) -> bool:
        """Whether work resumed too late."""
        return any(after.learned > MOST_RESUME_SECONDS for after in self.resumed)

    def __str__(self) -> str:
        taken = [1000 * second for second in statistics.quantiles(self.seconds, n=100)]
        resumed = ", ".join(f"{one.learned:.1f} s (served {one.served:.1f} s)" for one in self.resumed)
        return (
            f"{len(self.seconds):,} requests, {len(self.failures)} failed, p50 {taken[49]:.0f} ms, "
            f"p99 {taken[98]:.0f} ms; by the answers, the log was away for {self.away_seconds:.0f} s; "
            f"learning resumed after {resumed}"
        )


class Customers:
    """Ask a server for recommendations at a fixed rate, from several threads."""

    def __init__(self, url: str, rate: float) -> None:
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.away_seconds, self.log_is_away = 0.0, False
        self._url, self._pause = url, THREADS / rate
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(THREADS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        due = time.monotonic() + number * self._pause / THREADS
        while not self._enough.wait(max(0.0, due - time.monotonic())):
            number, due = number + THREADS, due + self._pause
            began = time.monotonic()
            try:
                answer = get(f"{self._url}/v1/users/u{number % USERS}/recommendations?k=5")
                self.away_seconds = max(self.away_seconds, answer["log_away_seconds"])
                self.log_is_away = answer["log_away_seconds"] > 0
                if not answer["items"]:
                    self.failures.append("an answer has no items")
            except OSError as error:
                self.failures.append(str(error))
            self.seconds.append(time.monotonic() - began)


def get(url: str) -> dict[str, Any]:
    """Return the JSON at a URL."""
    with urlopen(url, timeout=5) as answer:
        body: dict[str, Any] = orjson.loads(answer.read())
    return body


@contextmanager
def running(broker: Broker, folder: Path, events: int, seed: int) -> Iterator[tuple[Settings, Daemons]]:
    """Run learner, server and player on the broker; default settings but for places."""
    settings = Settings(
        log=LogConfig(url=broker.url, prefix="away", partitions=4),
        snapshots=SnapshotConfig(store=str(folder / "snapshots")),
        checkpoints=CheckpointConfig(folder=folder / "checkpoints", seconds=5),
        serve=ServeConfig(port=free_port()),
        metrics=MetricsConfig(learn=free_port()),
    )
    (folder / "millstream.toml").write_text(to_toml(settings))
    with closing(open_log(settings.log.url)) as event_log:
        Topics(settings.log.prefix).create(event_log, *settings.log.topic_sizes)
    with Daemons(folder, {FILE_VARIABLE: str(folder / "millstream.toml")}) as daemons:
        daemons.start("learn")
        daemons.start("serve")
        daemons.start("play", f"shop:seed={seed},events={events}", "--rate", str(EVENTS_PER_SECOND))
        yield settings, daemons


def learned(settings: Settings) -> float:
    """Return how many events the learner has learned since it started."""
    series = scrape(f"http://127.0.0.1:{settings.metrics.learn}/metrics")
    return value_of(series, "millstream_events_total", daemon="learn")


def served(settings: Settings) -> int:
    """Return how many events the served snapshot has learned; 0 before the first."""
    try:
        card = get(f"http://127.0.0.1:{settings.serve.port}/v1/model")["card"]
    except OSError:
        return 0
    return int(card["events"]) if card else 0


def wait(condition: Callable[[], bool], otherwise: str, daemons: Daemons) -> float:
    """Wait until something is true; return the seconds that it took."""
    began = time.monotonic()
    while not condition():
        daemons.check("learn", "serve")
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise SystemExit(otherwise)
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def away(
    broker: Broker, settings: Settings, daemons: Daemons, customers: Customers, outage: Outage
) -> Resumed:
    """Take the broker away until an answer says so; return how soon work resumes once it is back."""
    broker.signal(signal.SIGSTOP) if outage.freeze else broker.kill()
    time.sleep(outage.seconds)
    wait(lambda: customers.log_is_away, "no answer says that the log is away", daemons)
    before = learned(settings), served(settings)
    broker.signal(signal.SIGCONT) if outage.freeze else broker.start()
    until_learned = wait(lambda: learned(settings) > before[0], "nothing is learned after it", daemons)
    until_served = wait(lambda: served(settings) > before[1], "nothing is served after it", daemons)
    return Resumed(until_learned, until_learned + until_served)


def measured(broker: Broker, folder: Path, outages: Sequence[Outage], rate: float, seed: int) -> Outcome:
    """Measure outages, one after the other, under so many requests per second."""
    enough, events = EVENTS_PER_SECOND * SECONDS_BEFORE, EVENTS_PER_SECOND * (SECONDS_BEFORE + SECONDS_AFTER)
    with running(broker, folder, events, seed) as (settings, daemons):
        url = f"http://127.0.0.1:{settings.serve.port}"
        wait(lambda: served(settings) >= enough, "too little is learned before it", daemons)
        with Customers(url, rate) as customers:
            resumed = [away(broker, settings, daemons, customers, outage) for outage in outages]
            wait(lambda: daemons.ended("play"), "play does not end", daemons)
            wait(lambda: served(settings) == events, "what was played is not served", daemons)
        wait(lambda: get(f"{url}/v1/model")["log_away_seconds"] == 0, "the log is still away", daemons)
        with closing(open_log(settings.log.url)) as event_log:
            checks = audit(event_log, Topics(settings.log.prefix), settings, servers=[url])
    return Outcome(resumed, customers.seconds, customers.failures, customers.away_seconds, checks)


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long the broker is away.")] = 600,
    rate: Annotated[float, typer.Option(min=1, help="Requests per second.")] = 50,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Freeze the broker instead of killing it.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the shop.")] = 0,
) -> None:
    """Measure one outage."""
    with TemporaryDirectory() as name, Broker(Path(name) / "kafka") as broker:
        outcome = measured(broker, Path(name), [Outage(seconds, freeze)], rate, seed)
    console = Console()
    console.print(audit_page(outcome.checks))
    console.print(str(outcome), soft_wrap=True)
    raise typer.Exit(int(bool(outcome.findings) or outcome.is_late))


if __name__ == "__main__":
    typer.run(main)
