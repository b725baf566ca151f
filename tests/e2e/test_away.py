"""The event log goes away: no daemon ends, requests are answered from memory, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from benchmarks.away import Outage, measured
from deploy.kafka.broker import Broker

AWAY_SECONDS = 1.0
"""At least: each outage lasts until the server's answers say that the log is away."""
RATE = 20


def test_the_broker_is_killed_and_frozen(kafka_broker: Broker, tmp_path: Path) -> None:
    assert kafka_broker.running(), "so one can be started"
    with Broker(tmp_path / "kafka", quick_start=True) as own:
        outages = [Outage(AWAY_SECONDS, freeze) for freeze in (False, True)]
        outcome = measured(own, tmp_path, outages, RATE, seed=3)
    assert outcome.findings == []
    assert len(outcome.resumed) == len(outages)
    assert outcome.away_seconds > 0
    (events,) = (check.checked for check in outcome.checks if check.subject == "events")
    assert events.startswith("2,000 events")
