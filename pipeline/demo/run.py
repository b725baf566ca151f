"""Run the daemons on an embedded log or on Kafka, play a data set, and wait until it is served."""

from __future__ import annotations

import os
import shutil
import time
import urllib.parse
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import orjson
from rich.console import Console
from rich.live import Live

from pipeline.config import Settings, load_settings
from pipeline.datasets import Dataset, open_dataset
from pipeline.demo.processes import Daemons, free_port
from pipeline.demo.shoppers import shoppers
from pipeline.demo.view import Figures, busy_seconds, summary, view
from pipeline.errors import MillstreamError
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.metrics import scrape, value_of
from pipeline.signals import stop_requested
from pipeline.wording import counted
from producers.play import flat_out, play

FOLDER = Path("run/demo")
PARTITIONS = 4
RUNNING = ("learn", "serve", "console")
SHOPPERS = 3
START_SECONDS = 120.0
QUIET_SECONDS = 120.0
REFRESH_SECONDS = 0.5


@dataclass(frozen=True)
class DemoPlan:
    """What is played, and how.

    Attributes:
        data, mapping: the data set.
        log_url: None for an embedded log.
        limit: interactions to play.
        rate: of them, a second.
        keep: whether daemons and console go on after the summary, until the demo is interrupted.
    """

    data: str
    log_url: str | None
    limit: int
    rate: float
    mapping: Path | None = None
    keep: bool = False

    def dataset(self) -> Dataset:
        """Open the data set."""
        return open_dataset(self.data, mapping=self.mapping)

    def play_arguments(self) -> list[str]:
        """The command that plays it."""
        mapping = ["--mapping", str(self.mapping)] if self.mapping else []
        return ["play", self.data, "--rate", str(self.rate), "--limit", str(self.limit), *mapping]


class DemoStuck(MillstreamError):
    """The demo makes no progress: a daemon hangs or the machine is too slow."""


def run(plan: DemoPlan, console: Console) -> dict[str, object]:
    """Run the demo, show its progress, and return its figures.

    Raises:
        DatasetError: the data cannot be read; the folder of an earlier demo stays.
        DaemonDied: a daemon ended unexpectedly.
        DemoStuck: the daemons did not start, or made no progress for two minutes.
    """
    people = shoppers(plan.dataset(), plan.limit, SHOPPERS)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    environment = _environment(plan)
    os.environ.update(environment)
    settings = load_settings()
    items = _fill_catalogue(plan.dataset(), settings)
    with Daemons(FOLDER, environment) as daemons:
        with console.status("starting the daemons"):
            _start(daemons, settings)
        console.print(f"the console: {_console(settings)}", soft_wrap=True)
        with console.status(f"encoding {counted(items, 'title')} for the first time"):
            _wait_for_catalogue(items, daemons, settings)
        daemons.start(*plan.play_arguments())
        figures = _watch(plan, daemons, settings, console)
        answers = {person.user: _recommended(settings, person.user) for person in people}
        console.print(summary(figures, people, answers))
        if plan.keep:
            console.print(f"it goes on until Ctrl-C; the console: {_console(settings)}", soft_wrap=True)
            _keep(daemons, stop_requested())
    return figures.report(plan.data)


def _environment(plan: DemoPlan) -> dict[str, str]:
    """Settings that separate the demo from other models on the same machine and log."""
    return {
        "MILLSTREAM_LOG__URL": plan.log_url or f"sqlite:///{FOLDER}/log.db",
        "MILLSTREAM_LOG__PREFIX": f"demo-{int(time.time())}",
        "MILLSTREAM_LOG__PARTITIONS": str(PARTITIONS),
        "MILLSTREAM_SNAPSHOTS__STORE": str(FOLDER / "snapshots"),
        "MILLSTREAM_CHECKPOINTS__FOLDER": str(FOLDER / "checkpoints"),
        "MILLSTREAM_METRICS__LEARN": str(free_port()),
        "MILLSTREAM_SERVE__PORT": str(free_port()),
        "MILLSTREAM_CONSOLE__PORT": str(free_port()),
        "MILLSTREAM_SERVE__WORKERS": "1",  # whose metrics are at that port, too
    }


def _start(daemons: Daemons, settings: Settings) -> None:
    for command in RUNNING:
        daemons.start(command)
    deadline = time.monotonic() + START_SECONDS
    needed = f"{_server(settings)}/readyz", _learner(settings), f"{_console(settings)}/healthz"
    while not all(map(_answers, needed)):
        daemons.check(*RUNNING)
        _give_up_after(deadline, "the daemons did not answer")
        time.sleep(REFRESH_SECONDS)


def _fill_catalogue(dataset: Dataset, settings: Settings) -> int:
    """Create the topics, append the opening catalogue, and return its number of items."""
    topics = Topics(settings.log.prefix)
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        topics.create(event_log, *settings.log.topic_sizes)
        with event_log.writer() as writer:
            play(dataset, writer, topics, flat_out, limit=0)
        return sum(event_log.end_offsets([topics.items]).values())


def _wait_for_catalogue(items: int, daemons: Daemons, settings: Settings) -> None:
    """Wait until the learner has encoded the titles: some milliseconds each, once per machine."""
    while value_of(scrape(_learner(settings)), "millstream_items", daemon="learn") < items:
        daemons.check(*RUNNING)
        time.sleep(REFRESH_SECONDS)


def _watch(plan: DemoPlan, daemons: Daemons, settings: Settings, console: Console) -> Figures:
    """Show the figures until every played interaction is served."""
    figures = Figures(plan.limit, busy_before=busy_seconds(scrape(_learner(settings))))
    deadline = time.monotonic() + QUIET_SECONDS
    with Live(console=console, refresh_per_second=1 / REFRESH_SECONDS) as live:
        while not (daemons.ended("play") and figures.settled):
            daemons.check(*RUNNING)
            moved = figures.update(scrape(_learner(settings)), scrape(f"{_server(settings)}/metrics"))
            figures.card = _get(f"{_server(settings)}/v1/model")
            deadline = time.monotonic() + QUIET_SECONDS if moved else deadline
            _give_up_after(deadline, "no interaction was learned or served for two minutes")
            live.update(view(figures))
            time.sleep(REFRESH_SECONDS)
    return figures


def _recommended(settings: Settings, user: str) -> list[str]:
    name = urllib.parse.quote(user, safe="")
    answer = _get(f"{_server(settings)}/v1/users/{name}/recommendations?k=6")
    return [shown["title"] or shown["item"] for shown in answer["items"]]


def _keep(daemons: Daemons, stop: Event) -> None:
    """Let the daemons run until the demo is interrupted."""
    while not stop.wait(REFRESH_SECONDS):
        daemons.check(*RUNNING)


def _console(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.console.port}"


def _server(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.serve.port}"


def _learner(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.metrics.learn}/metrics"


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as response:
        answer: dict[str, Any] = orjson.loads(response.read())
    return answer


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _give_up_after(deadline: float, reason: str) -> None:
    if time.monotonic() > deadline:
        raise DemoStuck(f"{reason}; see the logs in {FOLDER}")
