"""The event log goes away: no daemon ends, requests are answered from memory, and nothing is lost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import orjson
import pytest

from deploy.kafka.broker import Broker
from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.rebuild import rebuild
from pipeline.config import Settings
from pipeline.demo.processes import Daemons
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from tests.support.http_client import card

EVENTS, RATE = 2_000, 60
PATIENCE_SECONDS = 240
AWAY_SECONDS = 5.0
PLAY = ("play", f"shop:seed=3,events={EVENTS}", "--rate", str(RATE))


@pytest.fixture
def broker(kafka_url: str, tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own; `kafka_url` makes sure that one can be started."""
    with Broker(tmp_path / "kafka", quick_start=True) as own:
        yield own


@pytest.fixture
def log_url(broker: Broker) -> str:
    return broker.url


def test_the_broker_is_killed_and_frozen(broker: Broker, settings: Settings, daemons: Daemons) -> None:
    topics = Topics(settings.log.prefix)
    with closing(open_log(settings.log.url)) as event_log:
        topics.create(event_log, *settings.log.topic_sizes)
        for command in (
            ("learn",),
            ("serve",),
            ("play", f"shop:seed=3,events={EVENTS}", "--rate", str(RATE)),
        ):
            daemons.start(*command)
        _wait(lambda: card(settings).get("events", 0) > 0, "nothing is served", daemons)

        broker.kill()
        _ask_for(AWAY_SECONDS, settings)
        assert _asked(settings)["log_away_seconds"] > 0
        broker.start()
        _wait(_moves(settings), "nothing is learned after the broker was killed", daemons)

        broker.signal(signal.SIGSTOP)
        _ask_for(AWAY_SECONDS, settings)  # a request in flight hides that nothing answers
        broker.signal(signal.SIGCONT)
        _wait(_moves(settings), "nothing is learned after the broker was frozen", daemons)

        _wait(lambda: daemons.ended("play"), "play does not end", daemons)
        _wait(lambda: card(settings).get("events") == EVENTS, "what was played is not served", daemons)
        assert _asked(settings)["log_away_seconds"] == 0
        daemons.stop("learn")

        checkpoints, learner, supervisor = (
            checkpoints_of(settings),
            make_learner(settings),
            make_supervisor(settings),
        )
        position = rebuild(event_log, topics, learner, supervisor, checkpoints, from_nothing=True)
        assert learner.stream.events == EVENTS
        digest = checkpoints.digest(capture(learner, supervisor, position))
        assert checkpoints.digests()[position.version] == digest


def _asked(settings: Settings) -> dict[str, float]:
    url = f"http://127.0.0.1:{settings.serve.port}/v1/users/u1/recommendations?k=5"
    with urlopen(url, timeout=5) as answer:
        body: dict[str, float] = orjson.loads(answer.read())
    return body


def _ask_for(seconds: float, settings: Settings) -> None:
    """Ask all the time; every request must be answered."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert _asked(settings)["items"]
        time.sleep(0.05)


def _moves(settings: Settings) -> Callable[[], bool]:
    """Whether more is served than when this was called."""
    before = card(settings).get("events", 0)
    return lambda: card(settings).get("events", 0) > before


def _wait(done: Callable[[], bool], otherwise: str, daemons: Daemons) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        daemons.check("learn", "serve")
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)
