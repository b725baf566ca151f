"""Send records to a foreign topic on a real Kafka broker, then bridge them; print how fast, as JSON.

    python -m benchmarks.bridge --records 200000 --malformed 0.5 --engine kafka

What became of each record is compared with what was sent; broker and bridge share the machine.
"""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.kafka.broker import Broker
from pipeline.config import LogConfig
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.port import TopicSpec, read
from pipeline.eventlog.topics import Topics
from tests.chaos.bridge import TOPIC_PARTITIONS, Outcome, Stranger, bridging, compare, is_ready, position_of

FOREIGN = "web.clicks"
POLL_SECONDS = 0.05


def main(
    records: Annotated[int, typer.Option(min=1)] = 200_000,
    malformed: Annotated[float, typer.Option(min=0, max=1, help="Share of the records.")] = 0.5,
    engine: Annotated[str, typer.Option(help="sqlite or kafka: where the event log is.")] = "kafka",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Bridge so many records, and print what came of it."""
    with tempfile.TemporaryDirectory() as name, Broker(Path(name) / "kafka", quick_start=True) as broker:
        url = broker.url if engine == "kafka" else f"sqlite:///{name}/log.db"
        seconds, outcome = run(broker.url, url, Path(name), records, malformed, seed)
    figures = {"engine": engine, "seconds": round(seconds, 1), "records_per_second": round(records / seconds)}
    Console().print_json(data={**figures, **vars(outcome)})


def run(
    source_url: str, log_url: str, folder: Path, records: int, malformed: float, seed: int
) -> tuple[float, Outcome]:
    """Return the seconds from the bridge's start on, without that of Python, and what came of the records."""
    log, port = LogConfig(url=log_url, partitions=4), free_port()
    topics = Topics(log.prefix)
    environment = {"MILLSTREAM_LOG__URL": log_url, "MILLSTREAM_LOG__PARTITIONS": "4"}
    with closing(open_log(source_url)) as source, closing(open_log(log_url)) as event_log:
        topics.create(event_log, *log.topic_sizes)
        source.create_topics([TopicSpec(FOREIGN, TOPIC_PARTITIONS)])
        with source.writer() as writer:
            Stranger(source, FOREIGN, random.Random(seed), malformed).send(writer, records)
        ends = source.end_offsets([FOREIGN])
        with Daemons(folder, {**environment, **bridging(source_url, FOREIGN, folder, port)}) as daemons:
            daemons.start("bridge")
            while not is_ready(port):
                daemons.check("bridge")
                time.sleep(POLL_SECONDS)
            began = time.monotonic()
            while position_of(event_log, topics, FOREIGN) != ends:
                time.sleep(POLL_SECONDS)
            seconds = time.monotonic() - began
        return seconds, compare(event_log, topics, list(read(source, FOREIGN)))


if __name__ == "__main__":
    typer.run(main)
