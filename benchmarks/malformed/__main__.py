"""Send malformed inputs, with well-formed ones in between, through every door of running daemons.

    python -m benchmarks.malformed --inputs 100000 --seed 0 --engine sqlite

Gateway, bridge, learner and server are processes of a tiny model. Two of three inputs are malformed, in some
fifty ways: by the gateway's HTTP, in files that are played, straight into the topics, and in a topic of the
bridge. Each must be refused or dead-lettered with its source, field and reason; every well-formed one must be
learned and served; no daemon may end, and the server answers all the time. Exit status 1 on a finding.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import orjson
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.malformed.doors import Doors, Sent
from benchmarks.malformed.inputs import FOREIGN_MAPPING, FOREIGN_TOPIC, ITEMS, NAMES
from deploy.kafka.broker import Broker
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, TopicSpec
from pipeline.eventlog.topics import Topics
from pipeline.metrics import Series, scrape
from pipeline.reports.dead_letters import read_letters
from tests.support.tiny_backbone import tiny_backbone

Figures = dict[str, int]
DAEMONS = ("learn", "serve", "gateway", "bridge")
CHUNK = 300
"""Inputs a door and turn."""
PARTITIONS, RETENTION_MS, LAG_MS = 4, 90 * 86_400_000, 2 * 86_400_000
PATIENCE_SECONDS, STALLED_SECONDS = 120.0, 30.0
"""For a start, and for figures that do not change any more."""
ANSWER_SECONDS = 30.0


class Running:
    """The daemons of a tiny model in a folder."""

    def __init__(self, folder: Path, daemons: Daemons, environment: dict[str, str]) -> None:
        self._folder, self._daemons, self._environment = folder, daemons, environment
        self.answers = 0

    def post(self, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        """Post to the gateway."""
        url = f"http://127.0.0.1:{self._environment['MILLSTREAM_GATEWAY__PORT']}{path}"
        return _ask(Request(url, data=body, headers={"Content-Type": kind}, method="POST"))

    def check(self, number: int) -> Iterator[str]:
        """Yield what is wrong: a daemon that ended, a server that does not answer."""
        self._daemons.check(*DAEMONS)
        user = quote(f"{NAMES[number % len(NAMES)]}-{number}", safe="")
        status, body = _ask(Request(f"{self._serve}/v1/users/{user}/recommendations"))
        self.answers += 1
        if status != 200:
            yield f"the server answered {status}: {body[:200]!r}"

    def ready(self) -> bool:
        """Whether all daemons answer."""
        self._daemons.check(*DAEMONS)
        try:
            return all(
                _ask(Request(f"{url}/readyz"))[0] == 200 for url in (self._serve, self._gateway)
            ) and bool(self.learned())
        except OSError:
            return False

    def learned(self) -> Series:
        """The learner's metrics."""
        return scrape(f"http://127.0.0.1:{self._environment['MILLSTREAM_METRICS__LEARN']}/metrics")

    def served(self) -> Series:
        """The server's metrics."""
        return scrape(f"{self._serve}/metrics")

    @property
    def _serve(self) -> str:
        return f"http://127.0.0.1:{self._environment['MILLSTREAM_SERVE__PORT']}"

    @property
    def _gateway(self) -> str:
        return f"http://127.0.0.1:{self._environment['MILLSTREAM_GATEWAY__PORT']}"


def _ask(request: Request) -> tuple[int, bytes]:
    try:
        with urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


@contextmanager
def _running(folder: Path, url: str) -> Iterator[tuple[Running, EventLog, Topics]]:
    mapping = folder / "mapping.toml"
    mapping.write_text(FOREIGN_MAPPING)
    environment = {
        "MILLSTREAM_LOG__URL": url,
        "MILLSTREAM_LOG__PARTITIONS": str(PARTITIONS),
        "MILLSTREAM_MODEL__BACKBONE": str(tiny_backbone(folder / "backbone")),
        "MILLSTREAM_MODEL__CACHE": str(folder / "cache"),
        "MILLSTREAM_MODEL__DEVICE": "cpu",
        "MILLSTREAM_SNAPSHOTS__STORE": str(folder / "snapshots"),
        "MILLSTREAM_CHECKPOINTS__FOLDER": str(folder / "checkpoints"),
        "MILLSTREAM_METRICS__LEARN": str(free_port()),
        "MILLSTREAM_SERVE__PORT": str(free_port()),
        "MILLSTREAM_GATEWAY__PORT": str(free_port()),
        "MILLSTREAM_BRIDGE__PORT": str(free_port()),
        "MILLSTREAM_BRIDGE__TOPICS": orjson.dumps({FOREIGN_TOPIC: {"mapping": str(mapping)}}).decode(),
    }
    topics = Topics("millstream")
    with open_log(url) as event_log, Daemons(folder, environment) as daemons:
        topics.create(event_log, PARTITIONS, RETENTION_MS, LAG_MS)
        event_log.create_topics([TopicSpec(FOREIGN_TOPIC, PARTITIONS)])
        for daemon in DAEMONS:
            daemons.start(daemon)
        running = Running(folder, daemons, environment)
        _wait(running.ready, "the daemons are not ready")
        yield running, event_log, topics


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.5)


def run(folder: Path, url: str, inputs: int, seed: int) -> tuple[Sent, int]:
    """Send at least so many malformed inputs; return what was sent, and the number of answers."""
    with _running(folder, url) as (running, event_log, topics):
        doors = Doors(running.post, event_log, topics, folder, seed)
        doors.stock(ITEMS)
        sent, first = doors.sent, 0
        while sent.malformed < inputs:
            now = time.time_ns() // 1_000_000
            for door in (doors.gateway, doors.files, doors.topics, doors.bridge):
                door(first, CHUNK, now)
            sent.findings += running.check(first)
            first += CHUNK
        _check_learned(running, sent, topics.interactions)
        _settled(
            lambda: _kept(event_log, topics), {"letters": sent.letters.total()}
        )  # they leave at a commit
        letters = read_letters(event_log, topics)
        doors.check_letters(letters, [base64.b64decode(one["value"]) for one in letters])
        sent.findings += running.check(first)
        return sent, running.answers


def _check_learned(running: Running, sent: Sent, interactions: str) -> None:
    """Wait until as much was learned, served and refused as was sent; more or less is a finding.

    The server's number of events is that of all records of the topic `interactions`.
    """
    refused = sum(count for (topic, _), count in sent.letters.items() if topic == interactions)
    bridged = sum(count for (topic, _), count in sent.letters.items() if topic == FOREIGN_TOPIC)
    ours = sent.letters.total() - bridged
    expected = {"events": len(sent.events), "refused": ours, "items": len(sent.items)}
    _check_figures("learn", running.learned, expected, sent)
    _check_figures("serve", running.served, {**expected, "events": len(sent.events) + refused}, sent)


def _check_figures(daemon: str, series: Callable[[], Series], expected: Figures, sent: Sent) -> None:
    found = _settled(lambda: _figures(series(), daemon), expected)
    if found != expected:
        sent.findings.append(f"{daemon}: expected {expected}, found {found}")


def _kept(event_log: EventLog, topics: Topics) -> Figures:
    return {"letters": sum(event_log.end_offsets([topics.dead_letters]).values())}


def _settled(figures: Callable[[], Figures], expected: Figures) -> Figures:
    """Return figures once they are as expected, or have not changed for a time."""
    found, since = figures(), time.monotonic()
    while found != expected and time.monotonic() - since < STALLED_SECONDS:
        time.sleep(0.5)
        now = figures()
        if now != found:
            found, since = now, time.monotonic()
    return found


def _figures(series: Series, daemon: str) -> Figures:
    names = {"events": "events_total", "refused": "dead_letters_total", "items": "items"}
    return {
        figure: int(
            sum(
                value
                for (found, labels), value in series.items()
                if found == f"millstream_{name}" and _is_of(labels, daemon)
            )
        )
        for figure, name in names.items()
    }


def _is_of(labels: frozenset[tuple[str, str]], daemon: str) -> bool:
    return ("daemon", daemon) in labels


def table_of(sent: Sent) -> Table:
    """One row per door: inputs, malformed ones, and kinds of fault."""
    table = Table("door", "inputs", "malformed", "kinds of fault")
    for door in ("gateway", "files", "topics", "bridge"):
        counts = {fault: number for (name, fault), number in sent.counts.items() if name == door}
        malformed = sum(number for fault, number in counts.items() if fault)
        table.add_row(door, f"{sum(counts.values()):,}", f"{malformed:,}", str(len(counts) - ("" in counts)))
    return table


def main(
    inputs: Annotated[int, typer.Option(min=1, help="Malformed inputs, at least.")] = 100_000,
    seed: int = 0,
    engine: Literal["sqlite", "kafka"] = "sqlite",
) -> None:
    """Print a table and the findings; exit status 1 if there are any."""
    logging.basicConfig(level=logging.WARNING)
    console, began = Console(width=160), time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = f"sqlite:///{folder}/log.db"
        if engine == "kafka":
            (folder / "kafka").mkdir()
            url = stack.enter_context(Broker(folder / "kafka")).url
        sent, answers = run(folder, url, inputs, seed)
    console.print(table_of(sent))
    console.print(
        f"{len(sent.events):,} well-formed interactions and {len(sent.items):,} items; {answers} answers"
        f" meanwhile; {len(sent.findings)} findings; {time.monotonic() - began:.0f} s"
    )
    for finding in sent.findings[:50]:
        console.print(finding, markup=False)
    raise typer.Exit(bool(sent.findings))


if __name__ == "__main__":
    typer.run(main)
