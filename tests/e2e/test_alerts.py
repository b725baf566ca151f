"""Real daemons break under the eyes of a real Prometheus, and each time the alert for it fires."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson
import pytest

from deploy.kafka.broker import Broker
from pipeline.config import Settings
from pipeline.control.records import ControlRecord, Pause, Resume
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.snapshots.announcement import Announcement
from tests.support.debian import debian_program
from tests.support.http_client import card

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
PATIENCE_SECONDS = 180
PLAYED = 2_000
FLOOD = 1_500
"""Bad records: more than `refusals.window_records`."""


@pytest.fixture
def broker(kafka_broker: Broker, tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own, which may be frozen."""
    assert kafka_broker.running(), "so one can be started"
    with Broker(tmp_path / "kafka", quick_start=True) as own:
        yield own


@pytest.fixture
def log_url(broker: Broker) -> str:
    return broker.url


def wait(done: Callable[[], bool], otherwise: str) -> None:
    """Wait until something is true; fail when it takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


@contextmanager
def prometheus(settings: Settings, folder: Path) -> Iterator[Callable[[], set[str]]]:
    """Run Prometheus with the rules, none of which waits; what fires is returned by a call."""
    folder.mkdir()
    jobs = {"millstream-learn": settings.metrics.learn, "millstream-serve": settings.serve.port}
    scraped = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for job, port in jobs.items()
    ]
    for name in ("alerts.yaml", "slo.yaml"):
        rules = (RULES / name).read_text()
        (folder / name).write_text(re.sub(r"^( +for:) .*$", r"\1 0s", rules, flags=re.MULTILINE))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml", "slo.yaml"],
        "scrape_configs": scraped,
    }
    (folder / "prometheus.yaml").write_bytes(orjson.dumps(config))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as output:
        process = subprocess.Popen(
            [
                debian_program("prometheus", "prometheus"),
                f"--config.file={folder}/prometheus.yaml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={address}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def alerts() -> list[dict[str, Any]]:
        with urlopen(f"http://{address}/api/v1/rules?type=alert", timeout=PATIENCE_SECONDS) as answer:
            groups = orjson.loads(answer.read())["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def has_begun() -> bool:
        try:
            rules = alerts()
        except OSError:
            return False
        return bool(rules) and all(rule["health"] == "ok" for rule in rules)

    def firing() -> set[str]:
        return {rule["name"] for rule in alerts() if rule["state"] == "firing"}

    try:
        wait(has_begun, "Prometheus has not evaluated each rule")
        yield firing
    finally:
        process.terminate()
        process.wait()


def order(settings: Settings, record: ControlRecord) -> None:
    """Append an order to the control topic."""
    with closing(open_log(settings.log.url)) as event_log, event_log.writer() as writer:
        writer.append(Topics(settings.log.prefix).control, record.key, record.encode())
        writer.flush()


def test_each_alert_fires_when_the_real_thing_breaks(
    settings: Settings, daemons: Daemons, broker: Broker, tmp_path: Path
) -> None:
    topics = Topics(settings.log.prefix)

    with closing(open_log(settings.log.url)) as event_log:
        topics.create(event_log, *settings.log.topic_sizes)
    daemons.start("learn")
    daemons.start("serve")
    daemons.start("play", f"shop:seed=1,events={PLAYED}")
    wait(lambda: card(settings).get("events") == PLAYED, "not all that was played is served")

    with prometheus(settings, tmp_path / "prometheus") as firing:
        wait(lambda: firing() == set(), "all is well")

        order(settings, Pause(ordered_at=1, reason="a test"))
        wait(lambda: "MillstreamLearningPaused" in firing(), "learning is paused")
        order(settings, Resume(ordered_at=2, reason="a test"))
        wait(lambda: "MillstreamLearningPaused" not in firing(), "learning goes on")

        gone = Announcement(version="999999999-1", digest="0" * 64, size=3, reason="", published_at=0)
        with closing(open_log(settings.log.url)) as event_log, event_log.writer() as writer:
            writer.append(topics.snapshots, settings.log.prefix, gone.encode())
            writer.flush()
        wait(lambda: "MillstreamSnapshotRefused" in firing(), "a snapshot that is not there")

        broker.signal(signal.SIGSTOP)
        wait(lambda: "MillstreamDegraded" in firing(), "the broker is away")
        broker.signal(signal.SIGCONT)
        wait(lambda: "MillstreamDegraded" not in firing(), "the broker is back")

        with closing(open_log(settings.log.url)) as event_log, event_log.writer() as writer:
            for number in range(FLOOD):
                writer.append(topics.interactions, f"user-{number}", b"no event")
            writer.flush()
        expected = {"MillstreamDeadLetters", "MillstreamReadingStopped"}
        wait(lambda: expected <= firing(), "a flood of bad records")

        daemons.kill("learn")
        wait(lambda: "MillstreamLearnerDown" in firing(), "the learner was killed")
