"""The whole story on real Kafka: stream, drift, alarm, retrain, Gate, promotion, served, rollback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.config import Settings
from pipeline.control.alarms import DriftAlarm, RetrainRequest
from pipeline.control.history import read_history
from pipeline.control.records import Adoption, ControlRecord, GateDecision, Promotion, Rollback
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.snapshots.snapshot import Manifest
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from tests.support.http_client import card

SHOP = "shop:seed=11,events=21000,drift=abrupt,drift_at=10000"
DRIFT_AT, IN_TIME = 10_000, 2_000
RATE = 300
"""Events per second: items come when they are new, not all at once, as in benchmarks/gate.py."""
PATIENCE_SECONDS = 400
Told = TypeVar("Told", bound=ControlRecord)


@pytest.fixture
def log_url(kafka_url: str) -> str:
    return kafka_url


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Alarms are answered, and no snapshot is thrown away before it was compared.

    Batches are full, as in benchmarks/gate.py, however fast the machine: with smaller ones the learner
    follows the drift so well that the Gate may find too little to gain. How much a candidate loses on cold
    items (.05 nats at least on an idle machine, .17 on one with ten times its work) hangs on when the
    machine begins the retrain, and so does how much it gains in all: the lower bound is .019 nats in this
    shop by benchmarks/gate.py, and moves by .006 from run to run. Neither is what this story is about.
    """
    return environment | {
        "MILLSTREAM_BATCH__LINGER_SECONDS": "5",
        "MILLSTREAM_DRIFT__ACTION": "retrain",
        "MILLSTREAM_GATE__SLICE_LOG_LOSS_MARGIN": "0.5",
        "MILLSTREAM_GATE__LEAST_GAIN": "0.003",
        "MILLSTREAM_METRICS__RETRAIN": str(free_port()),
        "MILLSTREAM_CHECKPOINTS__SECONDS": "5",
        "MILLSTREAM_SNAPSHOTS__KEEP": "1000",
    }


@pytest.fixture
def daemons(environment: dict[str, str], tmp_path: Path) -> Iterator[Daemons]:
    """Started as a person starts them, and not forked: all but this, the demo and an outage are."""
    with Daemons(tmp_path, environment) as running:
        yield running


def test_the_world_changes_and_the_model_follows(settings: Settings, daemons: Daemons) -> None:
    topics = Topics(settings.log.prefix)
    store = SnapshotStore(settings.snapshots.store, settings.log.prefix)
    with closing(open_log(settings.log.url)) as event_log:

        def published(kind: type[Told]) -> list[Told]:
            return [
                entry.record for entry in read_history(event_log, topics) if isinstance(entry.record, kind)
            ]

        def wait(done: Callable[[], bool], otherwise: str) -> None:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not done():
                daemons.check("learn", "serve", "retrain")
                assert time.monotonic() < deadline, otherwise
                time.sleep(0.5)

        topics.create(event_log, *settings.log.topic_sizes)
        daemons.start("learn")
        daemons.start("serve")
        daemons.start("retrain", "--follow")
        daemons.start("play", SHOP, "--rate", str(RATE))

        wait(lambda: bool(published(DriftAlarm)), "no alarm")
        alarm = published(DriftAlarm)[0]
        assert DRIFT_AT < alarm.events <= DRIFT_AT + IN_TIME
        wait(lambda: bool(published(GateDecision)), "no candidate")
        (request,) = published(RetrainRequest)
        (decision,) = published(GateDecision)
        assert (decision.request, decision.outcome) == (request.key, "promoted"), decision.reasons
        assert decision.figures["log_loss.all.low"] > 0
        assert decision.cost["seconds"] > 0 and decision.cost["events"] > 0

        wait(lambda: bool(published(Adoption)), "the candidate is not adopted")
        (promotion,), (adopted,) = published(Promotion), published(Adoption)
        assert adopted.order == promotion.key
        assert Version.parse(adopted.version).generation == 2
        wait(lambda: card(settings).get("version", "").startswith("2-"), "the candidate is not served")

        ordered = CliRunner().invoke(cli.app, ["rollback", adopted.left])
        assert ordered.exit_code == 0
        wait(lambda: card(settings).get("version", "").startswith("3-"), "the rollback is not served")
        (rollback,), (_, returned) = published(Rollback), published(Adoption)
        assert returned.order == rollback.key
        left, back = (_manifest(store, version) for version in (adopted.left, returned.version))
        assert back.digest == left.digest

        history = CliRunner().invoke(cli.app, ["history"], env={"COLUMNS": "200"}).output
        for line in ("alarm:", "won", "promoted", "adopted", "rollback ordered"):
            assert line in history


def _manifest(store: SnapshotStore, version: str) -> Manifest:
    return store.manifest(Version.parse(version))
