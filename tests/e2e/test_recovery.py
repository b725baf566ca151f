"""SIGKILL of learn, serve or play at any moment: work goes on, nothing is lost, no bit differs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.rebuild import rebuild
from pipeline.config import Settings
from pipeline.demo.processes import Daemons
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.metrics import scrape, value_of
from tests.support.http_client import card

EVENTS = 2_500
KILLS = ("learn", "play", "serve", "learn")
PATIENCE_SECONDS = 180


@pytest.mark.parametrize("seed", [7])
def test_killed_daemons_go_on_and_the_state_is_the_journals(
    settings: Settings, daemons: Daemons, seed: int
) -> None:
    moments = random.Random(seed)
    commands = {
        "learn": ("learn",),
        "serve": ("serve",),
        "play": ("play", f"shop:seed=3,events={EVENTS}", "--rate", "150"),
    }
    with closing(open_log(settings.log.url)) as event_log:
        Topics(settings.log.prefix).create(event_log, *settings.log.topic_sizes)
        for command in commands.values():
            daemons.start(*command)
        _wait(lambda: learned(settings) > 0, "nothing is learned")
        for victim in KILLS:
            time.sleep(moments.uniform(0.2, 3.0))
            daemons.kill(victim)
            daemons.start(*commands[victim])
        _wait(lambda: daemons.ended("play"), "play does not end")
        _wait(lambda: card(settings).get("events") == EVENTS, "what was played is not served")
        daemons.stop("learn")

        topics, checkpoints = Topics(settings.log.prefix), checkpoints_of(settings)
        learner, supervisor = make_learner(settings), make_supervisor(settings)
        position = rebuild(event_log, topics, learner, supervisor, checkpoints, from_nothing=True)
        assert learner.stream.events == EVENTS
        digest = checkpoints.digest(capture(learner, supervisor, position))
        assert checkpoints.digests()[position.version] == digest
        assert position.generation == 1


def learned(settings: Settings) -> float:
    try:
        series = scrape(f"http://127.0.0.1:{settings.metrics.learn}/metrics")
    except OSError:
        return 0
    return value_of(series, "millstream_events_total", daemon="learn")


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)
