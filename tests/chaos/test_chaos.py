"""The short form of chaos: some rounds of a fixed seed on each engine have no findings."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from deploy.kafka.broker import Broker
from tests.chaos.run import Engine, Run

SEED = 0


@pytest.mark.parametrize(("engine", "rounds"), [("sqlite", 2), ("kafka", 1)])
def test_some_rounds_have_no_findings(
    engine: Engine, rounds: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine == "kafka":
        broker: Broker = request.getfixturevalue("kafka_broker")
        assert broker.running(), "so one can be started here"
    with Run(engine, SEED, tmp_path, Console()) as run:
        outcome = run.rounds(rounds)
    assert outcome.findings == []
    assert outcome.rounds == rounds
    assert outcome.reached.total() >= 2 * rounds
    assert outcome.answers
