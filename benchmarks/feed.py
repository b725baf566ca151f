"""A catalogue goes in through the log while events are learned and requests answered: rates and stalls.

    python -m benchmarks.feed --items 20000 --titles 5000

Learner and server are processes on an embedded log. Items are appended as fast as the log takes them, acts on
the items before them at a steady rate, and one client asks the server without a pause. It ends when both know
the catalogue, or after `--seconds`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Annotated

import httpx
import numpy as np
import typer
from rich.console import Console

from pipeline.cli.terminal import ReportOption
from pipeline.config import load_settings
from pipeline.demo.processes import Daemons, free_port
from pipeline.errors import MillstreamError
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, Item, encode
from pipeline.metrics import Series, scrape, value_of
from pipeline.model.backbone import load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device

OPENING, USERS, SAMPLE = 1_000, 1_000, 300
"""Items that are known before the feed, users, and titles whose encoding is timed."""
POLL_SECONDS, START_SECONDS = 0.1, 300.0
MS, MIB = 1_000, 2**20
DAEMONS = ("learn", "serve")


@dataclass
class Progress:
    """What has been seen of a daemon.

    Attributes:
        clock: in seconds.
        items: that it knows.
        resident: its largest resident set so far, in MiB.
        longest: seconds between two steps, at most.
    """

    clock: Callable[[], float] = time.monotonic
    items: int = 0
    resident: float = 0.0
    longest: float = 0.0
    _step: float = 0.0

    def __post_init__(self) -> None:
        self._stepped = self.clock()

    def see(self, series: Series, daemon: str, step: float) -> None:
        """Update with what a daemon exposes; `step` grows with whatever it must not stop doing."""
        now = self.clock()
        self.items = int(value_of(series, "millstream_items", daemon=daemon))
        self.resident = max(self.resident, value_of(series, "process_resident_memory_bytes") / MIB)
        self.longest = max(self.longest, now - self._stepped)
        if step != self._step:
            self._step, self._stepped = step, now


class Feed:
    """Appends to a log, and asks a server, until it is stopped.

    Attributes:
        log, topics: where it appends to.
        url: of the server.
        stop: set to stop it.
    """

    def __init__(self, log: EventLog, topics: Topics, url: str, titles: int) -> None:
        self.log, self.topics, self.url, self._titles = log, topics, url, titles
        self.stop = Event()
        self._acts = count()

    def add_items(self, first: int, end: int) -> float:
        """Append items; return items/s."""
        began = time.monotonic()
        with self.log.writer() as writer:
            for number in range(first, end):
                item = Item(item=f"i{number}", title=title(number % self._titles))
                writer.append(self.topics.items, item.item, encode(item))
                if self.stop.is_set():
                    break
            writer.flush()
        return (end - first) / (time.monotonic() - began)

    def act(self, rate: float) -> int:
        """Append acts on the first items at a rate, with ids that no call repeats; return their number."""
        random, began = np.random.default_rng(0), time.monotonic()
        with self.log.writer() as writer:
            for number in count():
                if self.stop.wait(max(0.0, began + number / rate - time.monotonic())):
                    return number
                user, item = random.integers(USERS), int(OPENING * random.random() ** 2)
                act = act_of(f"e{next(self._acts)}", f"u{user}", f"i{item}")
                writer.append(self.topics.interactions, act.user, encode(act))
        return 0

    def ask(self, rate: float = math.inf) -> list[float]:
        """Ask for users one after the other, at a rate at most; return the ms of each answer, sorted."""
        latencies, first = list[float](), time.monotonic()
        with httpx.Client(base_url=self.url, timeout=START_SECONDS) as client:
            for number in count():
                if self.stop.wait(max(0.0, first + number / rate - time.monotonic())):
                    break
                began = time.monotonic()
                client.get(f"/v1/users/u{number % USERS}/recommendations").raise_for_status()
                latencies.append(MS * (time.monotonic() - began))
        return sorted(latencies)


def main(
    items: Annotated[int, typer.Option(help="Items to feed.")] = 1_000_000,
    titles: Annotated[int, typer.Option(help="Distinct titles among them.")] = 20_000,
    rate: Annotated[float, typer.Option(help="Acts a second beside them.")] = 50,
    seconds: Annotated[float, typer.Option(help="Time for the feed, at most.")] = 1_800,
    report: ReportOption = None,
) -> None:
    """Feed a catalogue, and print what it took."""
    with TemporaryDirectory() as folder:
        figures = {"texts_per_second": _encode_rate(Path(folder))}
        with running(Path(folder)) as (log, urls, daemons):
            topics = Topics(load_settings().log.prefix)
            feed = Feed(log, topics, urls["serve"].removesuffix("/metrics"), titles)
            figures |= _fed(feed, urls, items, rate, seconds, lambda: daemons.check(*DAEMONS))
    figures["load"] = os.getloadavg()[0]
    Console().print_json(json.dumps({name: round(value, 1) for name, value in figures.items()}))
    if report:
        report.write_text(json.dumps(figures, indent=2) + "\n")


def act_of(event_id: str, user: str, item: str) -> Interaction:
    """Return a view of an item now."""
    return Interaction(
        event_id=event_id, user=user, item=item, type=InteractionType.VIEW, time=int(time.time() * MS)
    )


def title(number: int) -> str:
    """Return a title of ordinary length."""
    return f"ceramic coffee cup with handle, series {number // 10}, colour {number % 10}"


def _encode_rate(folder: Path) -> float:
    """Encode some titles as a learner does; return texts/s."""
    settings, cpu = load_settings(), use_device("cpu", threads=1)
    encoder = TextEncoder(
        load_backbone(settings.model.backbone), folder / "timed", settings.model.max_tokens, cpu
    )
    with closing(encoder):
        began = time.monotonic()
        encoder.encode([title(-number) for number in range(1, SAMPLE + 1)])
        return SAMPLE / (time.monotonic() - began)


@contextmanager
def running(folder: Path) -> Iterator[tuple[EventLog, dict[str, str], Daemons]]:
    """Run a learner and a server; yield their log, the URLs of their metrics, and the processes."""
    ports = {daemon: free_port() for daemon in DAEMONS}
    environment = {
        "MILLSTREAM_LOG__URL": f"sqlite:///{folder}/log.db",
        "MILLSTREAM_SNAPSHOTS__STORE": str(folder / "snapshots"),
        "MILLSTREAM_CHECKPOINTS__FOLDER": str(folder / "checkpoints"),
        "MILLSTREAM_MODEL__CACHE": str(folder / "cache"),
        "MILLSTREAM_METRICS__LEARN": str(ports["learn"]),
        "MILLSTREAM_SERVE__PORT": str(ports["serve"]),
    }
    os.environ.update(environment)
    settings = load_settings()
    with closing(open_log(settings.log.url)) as log, Daemons(folder, environment) as daemons:
        Topics(settings.log.prefix).create(log, *settings.log.topic_sizes)
        for daemon in DAEMONS:
            daemons.start(daemon)
        yield log, {daemon: f"http://127.0.0.1:{port}/metrics" for daemon, port in ports.items()}, daemons


def _fed(
    feed: Feed, urls: dict[str, str], items: int, rate: float, seconds: float, check: Callable[[], None]
) -> dict[str, float]:
    """Open the shop, then feed it; watch both daemons meanwhile."""
    feed.add_items(0, OPENING)
    with ThreadPoolExecutor(3) as threads:
        try:
            acting = threads.submit(feed.act, rate)
            wait_until_served(urls, check)
            asking, adding = (
                threads.submit(feed.ask),
                threads.submit(feed.add_items, OPENING, OPENING + items),
            )
            took, seen = _watched(urls, OPENING + items, seconds, check)
        finally:
            feed.stop.set()
    latencies = asking.result()
    return {
        "appended_per_second": adding.result(),
        "learner_items": seen["learn"].items,
        "server_items": seen["serve"].items,
        "seconds": took,
        "items_per_second": (min(one.items for one in seen.values()) - OPENING) / took,
        "acts": acting.result(),
        "learner_longest_gap_seconds": seen["learn"].longest,
        "requests": len(latencies),
        "request_p50_ms": latencies[len(latencies) // 2],
        "request_p99_ms": latencies[len(latencies) * 99 // 100],
        "request_longest_ms": latencies[-1],
        "learner_mib": seen["learn"].resident,
        "server_mib": seen["serve"].resident,
    }


def _watched(
    urls: dict[str, str], items: int, seconds: float, check: Callable[[], None]
) -> tuple[float, dict[str, Progress]]:
    """Watch the daemons until both know all items, or time is up; return the seconds that it took."""
    began, seen = time.monotonic(), {daemon: Progress() for daemon in DAEMONS}
    while time.monotonic() < began + seconds and any(one.items < items for one in seen.values()):
        check()
        for daemon, url in urls.items():
            series = scrape(url, timeout_seconds=seconds)
            seen[daemon].see(series, daemon, value_of(series, "millstream_batch_seconds_count"))
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began, seen


def wait_until_served(urls: dict[str, str], check: Callable[[], None]) -> None:
    """Wait until the server has swapped a snapshot in.

    Raises:
        MillstreamError: it did not in START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        check()
        try:
            if value_of(scrape(urls["serve"]), "millstream_swaps_total"):
                return
        except OSError:
            pass
        time.sleep(POLL_SECONDS)
    raise MillstreamError("no snapshot was served")


if __name__ == "__main__":
    typer.run(main)
