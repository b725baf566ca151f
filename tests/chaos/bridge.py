"""Kill the bridge at random moments while strangers send records, well-formed and not; then compare.

    python -m tests.chaos.bridge --kills 50 --engine kafka --seed 0

The source is always a topic on Kafka; the event log is on either engine. In the end each well-formed record
is an interaction exactly once by id, each malformed one a dead letter with its place, and nothing else is
there.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Self

import httpx
import orjson
import typer
from rich.console import Console

from deploy.kafka.broker import Broker
from pipeline.config import LogConfig, Settings
from pipeline.demo.processes import free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of
from pipeline.eventlog.port import EventLog, LogWriter, Record, TopicSpec, read
from pipeline.eventlog.topics import Topics
from producers.bridge.position import stored_positions
from tests.support.forks import ForkedDaemons
from tests.support.serve_tools import wait_until

TOPIC_PARTITIONS = 4
CHUNK, CHUNK_SECONDS = 25, 0.025
"""Records that are sent at a time, and the pause after them."""
MALFORMED = 0.15
LONGEST_LIFE = 1.0
"""Seconds until a kill, once the bridge is ready or has been started."""
PATIENCE_SECONDS = 120.0
MAPPING = """
[interactions]
user = "who.id"
item = "what.sku"
type = "verb"
time = "when.at"
value = { column = "what.cents", scale = 0.01 }
session = "number"

[time]
format = "ms"

[types]
bought = "purchase"
looked = "view"
"""
FIRST_MS = 1_700_000_000_000


class Stranger:
    """Sends numbered records to a foreign topic; the key says which field of a malformed one is at fault."""

    def __init__(
        self, source: EventLog, topic: str, dice: random.Random, malformed: float = MALFORMED
    ) -> None:
        """Create it; `malformed` is a share."""
        self._source, self._topic, self._dice, self._malformed = source, topic, dice, malformed
        self._numbers = itertools.count()
        self._stop = Event()
        self._thread = Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def send(self, writer: LogWriter, records: int) -> None:
        """Send so many records, and wait until they are durable."""
        for number in itertools.islice(self._numbers, records):
            fault, value = self._record(number)
            partition = self._dice.randrange(TOPIC_PARTITIONS)
            writer.append(self._topic, fault, value, partition=partition)
        writer.flush()

    def _send(self) -> None:
        with self._source.writer() as writer:
            while not self._stop.is_set():
                self.send(writer, CHUNK)
                self._stop.wait(CHUNK_SECONDS)

    def _record(self, number: int) -> tuple[str, bytes]:
        what = {"sku": f"i{number % 97}", "cents": number % 1_000}
        record: dict[str, object] = {
            "number": number,
            "who": {"id": number % 211},
            "what": what,
            "verb": self._dice.choice(("bought", "looked")),
            "when": {"at": FIRST_MS + number},
        }
        faults: Mapping[str, bytes] = {
            "event": orjson.dumps(record)[: self._dice.randrange(1, 40)],
            "who.id": orjson.dumps({**record, "who": None}),
            "what.cents": orjson.dumps({**record, "what": {**what, "cents": "many"}}),
            "verb": orjson.dumps({**record, "verb": "sneezed"}),
            "when.at": orjson.dumps({**record, "when": {"at": FIRST_MS // 1000}}),
        }
        if self._dice.random() < self._malformed:
            fault = self._dice.choice(sorted(faults))
            return fault, faults[fault]
        return "", orjson.dumps(record)


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        records: that were sent.
        well_formed: of them.
        again: interactions and dead letters in the log beyond the first of each id.
        findings: what should not be so.
    """

    records: int
    well_formed: int
    again: int
    findings: list[str]


def kill_and_compare(
    environment: Mapping[str, str], settings: Settings, source_url: str, folder: Path, kills: int, seed: int
) -> Outcome:
    """Kill a bridge so many times, let it read the rest, and compare what it made with what was sent."""
    dice, topics = random.Random(seed), Topics(settings.log.prefix)
    foreign = f"{settings.log.prefix}-foreign"
    port = free_port()
    bridge = bridging(source_url, foreign, folder, port) | {"MILLSTREAM_BRIDGE__BATCH_RECORDS": "100"}
    with closing(open_log(source_url)) as source, closing(open_log(settings.log.url)) as event_log:
        topics.create(event_log, *settings.log.topic_sizes)
        source.create_topics([TopicSpec(foreign, TOPIC_PARTITIONS)])
        with ForkedDaemons(folder, {**environment, **bridge}) as daemons:
            with Stranger(source, foreign, random.Random(seed)):
                for _ in range(kills):
                    daemons.start("bridge")
                    if dice.random() < 0.7:
                        wait_until(lambda: is_ready(port), PATIENCE_SECONDS)
                    time.sleep(dice.uniform(0, LONGEST_LIFE))
                    daemons.kill("bridge")
            daemons.start("bridge")
            ends = source.end_offsets([foreign])
            wait_until(lambda: position_of(event_log, topics, foreign) == ends, PATIENCE_SECONDS)
            daemons.stop("bridge")
        return compare(event_log, topics, list(read(source, foreign)))


def bridging(source_url: str, foreign: str, folder: Path, port: int) -> dict[str, str]:
    """Settings of a bridge that reads a topic by `MAPPING`."""
    mapping = folder / "mapping.toml"
    mapping.write_text(MAPPING)
    return {
        "MILLSTREAM_BRIDGE__URL": source_url,
        "MILLSTREAM_BRIDGE__TOPICS": orjson.dumps({foreign: {"mapping": str(mapping)}}).decode(),
        "MILLSTREAM_BRIDGE__PORT": str(port),
    }


def is_ready(port: int) -> bool:
    """Whether the bridge at a port bridges."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def position_of(event_log: EventLog, topics: Topics, foreign: str) -> object:
    """The stored offsets of a bridge; None while there are none."""
    found = stored_positions(event_log, topics, "bridge").get(foreign)
    return found and found.by_partition


def compare(event_log: EventLog, topics: Topics, sent: list[Record]) -> Outcome:
    """Compare the log with what was sent."""
    events = [interaction_of(record) for record in read(event_log, topics.interactions)]
    letters = [record for record in read(event_log, topics.dead_letters) if record.value]
    by_id = {event.event_id: event.session for event in events}
    by_place = {record.key: orjson.loads(record.value or b"")["field"] for record in letters}
    good = Counter(str(orjson.loads(record.value or b"")["number"]) for record in sent if not record.key)
    bad = {f"{record.source}/{record.offset}": record.key for record in sent if record.key}
    findings = [
        f"the id {event_id} is that of different events"
        for event_id in {event.event_id for event in events if by_id[event.event_id] != event.session}
    ]
    if Counter(by_id.values()) != good:
        lost, more = good - Counter(map(str, by_id.values())), Counter(map(str, by_id.values())) - good
        findings.append(f"{lost.total()} records are lost, {more.total()} are there more than once")
    if by_place != bad:
        findings.append(f"{len(by_place.items() ^ bad.items())} dead letters are missing, or others")
    again = len(events) - len(by_id) + len(letters) - len(by_place)
    return Outcome(len(sent), good.total(), again, findings)


def main(
    kills: Annotated[int, typer.Option(min=1)] = 50,
    engine: Annotated[str, typer.Option(help="sqlite or kafka: where the event log is.")] = "kafka",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Kill the bridge so many times, and print what came of it as JSON; exit status 1 on findings."""
    with tempfile.TemporaryDirectory() as name, Broker(Path(name) / "kafka", quick_start=True) as broker:
        url = broker.url if engine == "kafka" else f"sqlite:///{name}/log.db"
        environment = {"MILLSTREAM_LOG__URL": url, "MILLSTREAM_LOG__PARTITIONS": "4"}
        settings = Settings(log=LogConfig(url=url, partitions=4))
        began = time.monotonic()
        outcome = kill_and_compare(environment, settings, broker.url, Path(name), kills, seed)
        seconds = round(time.monotonic() - began)
    Console().print_json(data={"kills": kills, "engine": engine, "seconds": seconds, **vars(outcome)})
    raise typer.Exit(int(bool(outcome.findings)))


if __name__ == "__main__":
    typer.run(main)
