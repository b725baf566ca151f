"""Measure what a retrain costs the learner beside it: events/s of `millstream learn` without and with.

Learner and `millstream retrain` are processes on one machine and one embedded log, which is
filled beforehand, so that the learner never waits for events. The retrain is started by hand
and stopped between its phases, so that phases without and with it alternate. Its candidate is
not promoted, so that the learner stays the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Annotated, NamedTuple, Self

import typer
from rich.console import Console
from rich.table import Table

from pipeline.cli.terminal import ReportOption
from pipeline.config import load_settings
from pipeline.datasets import open_dataset
from pipeline.demo.processes import DaemonDied, Daemons, free_port
from pipeline.errors import MillstreamError
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.metrics import Series, scrape, value_of
from producers.play import flat_out, play

# At full speed simulated time runs faster than the log's clock, and must not overtake it.
SHOP = "shop:seed={seed},events={events},opening=2000-01-01"
WARM_UP = 20_000
"""Events before the first phase: the learner has reached its speed, and a retrain has enough data."""
START_SECONDS = 600.0
POLL_SECONDS = 0.5


class Phase(NamedTuple):
    """Events learned and seconds taken, with or without a retrain beside the learner.

    `load` is the machine's load average over the last minute at the end of the phase.
    """

    beside: bool
    events: int
    seconds: float
    load: float

    @property
    def speed(self) -> float:
        """Events/s."""
        return self.events / self.seconds


class Bench(NamedTuple):
    """The learner's process, the URL of its metrics, and the retrains beside it."""

    daemons: Daemons
    url: str
    retrains: Retrains


class OutOfEvents(MillstreamError):
    """The learner had nothing left to learn: play more events."""


def main(
    pairs: Annotated[int, typer.Option(help="Number of phases of each kind.")] = 5,
    seconds: Annotated[float, typer.Option(help="Duration of a phase.")] = 20,
    events: Annotated[int, typer.Option(help="Events to play beforehand.")] = 600_000,
    seed: Annotated[int, typer.Option(help="Seed of the shop.")] = 0,
    report: ReportOption = None,
) -> None:
    """Run the learner through alternating phases without and with a retrain."""
    console = Console()
    with TemporaryDirectory() as folder, _bench(Path(folder), seed, events) as bench:
        phases = list(_phases(bench, pairs, seconds))
    figures = _figures(phases)
    if report:
        written = {**figures, "phases": [{**phase._asdict(), "speed": phase.speed} for phase in phases]}
        report.write_text(json.dumps(written, indent=2) + "\n")
    console.print(_table(phases))
    console.print(
        "median {without:,.0f} events/s without and {beside:,.0f} with a retrain beside it: "
        "{ratio:.2f}; {cores} cores, median load {load:.1f}".format_map(figures)
    )


@contextmanager
def _bench(folder: Path, seed: int, events: int) -> Iterator[Bench]:
    """Run a learner that is past its warm-up and has a checkpoint."""
    environment = {
        "MILLSTREAM_LOG__URL": f"sqlite:///{folder}/log.db",
        "MILLSTREAM_SNAPSHOTS__STORE": str(folder / "snapshots"),
        "MILLSTREAM_CHECKPOINTS__FOLDER": str(folder / "checkpoints"),
        "MILLSTREAM_METRICS__LEARN": str(free_port()),
        "MILLSTREAM_METRICS__RETRAIN": "0",
        "MILLSTREAM_GATE__MODE": "manual",
    }
    os.environ.update(environment)
    _fill_log(SHOP.format(seed=seed, events=events))
    url = f"http://127.0.0.1:{environment['MILLSTREAM_METRICS__LEARN']}/metrics"
    with Daemons(folder, environment) as daemons, Retrains(folder) as retrains:
        daemons.start("learn")
        _wait_until_warm(daemons, url)
        yield Bench(daemons, url, retrains)


def _fill_log(source: str) -> None:
    settings = load_settings()
    topics = Topics(settings.log.prefix)
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        topics.create(event_log, *settings.log.topic_sizes)
        with event_log.writer(max_in_flight=settings.play.max_in_flight) as writer:
            play(open_dataset(source), writer, topics, flat_out)


def _wait_until_warm(daemons: Daemons, url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_warm(url):
        daemons.check("learn")
        if time.monotonic() > deadline:
            raise MillstreamError(f"the learner did not finish its warm-up within {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _is_warm(url: str) -> bool:
    try:
        series = scrape(url)
    except OSError:
        return False
    return _learned(series) >= WARM_UP and value_of(series, "millstream_checkpoint_seconds_count") >= 1


class Retrains:
    """Runs one `millstream retrain` after another, and can stop and continue it.

    Args:
        folder: where to write their output.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "retrain.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def is_running(self) -> bool:
        """Whether a retrain has started and not ended.

        Raises:
            DaemonDied: it ended with an error.
        """
        status = self._process and self._process.poll()
        if status:
            raise DaemonDied(f"millstream retrain ended with status {status}: {self._log.read_text()}")
        return self._process is not None and status is None

    def resume(self) -> None:
        """Continue the stopped retrain, or start another."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGCONT)
            return
        command = [sys.executable, "-m", "pipeline.cli", "retrain"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def pause(self) -> None:
        """Stop the running retrain until `resume`."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGSTOP)


def _phases(bench: Bench, pairs: int, seconds: float) -> Iterator[Phase]:
    """Alternate phases, beginning without a retrain."""
    for _ in range(pairs):
        yield _phase(bench, seconds, beside=False)
        bench.retrains.resume()
        yield _phase(bench, seconds, beside=True)
        bench.retrains.pause()


def _phase(bench: Bench, seconds: float, *, beside: bool) -> Phase:
    """Measure for `seconds`, or less if the retrain ends before.

    Raises:
        OutOfEvents: the learner had nothing left to learn.
        DaemonDied: the learner or a retrain ended with an error.
    """
    before, began = scrape(bench.url), time.monotonic()
    while time.monotonic() < began + seconds and (bench.retrains.is_running or not beside):
        time.sleep(POLL_SECONDS)
    after, ended = scrape(bench.url), time.monotonic()
    bench.daemons.check("learn")
    if value_of(after, "millstream_lag_records", daemon="learn") == 0:
        raise OutOfEvents("the learner had nothing left to learn: play more events")
    return Phase(beside, _learned(after) - _learned(before), ended - began, os.getloadavg()[0])


def _learned(series: Series) -> int:
    return int(value_of(series, "millstream_events_total", daemon="learn"))


def _figures(phases: Sequence[Phase]) -> dict[str, float]:
    without, beside = (
        median(phase.speed for phase in phases if phase.beside is wanted) for wanted in (False, True)
    )
    return {
        "without": without,
        "beside": beside,
        "ratio": beside / without,
        "cores": os.cpu_count() or 1,
        "load": median(phase.load for phase in phases),
    }


def _table(phases: Sequence[Phase]) -> Table:
    table = Table("phase", "retrain beside it", "events", "seconds", "events/s", "load average")
    for number, phase in enumerate(phases, start=1):
        table.add_row(
            str(number),
            "yes" if phase.beside else "no",
            f"{phase.events:,}",
            f"{phase.seconds:.1f}",
            f"{phase.speed:,.0f}",
            f"{phase.load:.1f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
