"""A learner that is killed while answers flow writes what came of each of them once, and loses none."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count

import pytest

from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.rebuild import rebuild
from pipeline.config import Settings
from pipeline.demo.processes import Daemons
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, LogWriter, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, Item, encode
from pipeline.state.join_state import Leftover
from pipeline.state.outcome_record import OutcomeRecord
from tests.support.impressions import impression

ANSWERS, BURST = 240, 12
ITEMS = tuple(f"item-{number}" for number in range(8))
KILLS = 3
WINDOW_MINUTES = "0.1"
PATIENCE_SECONDS = 180


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """A window of some seconds, and checkpoints that come late, so that kills find much to learn again."""
    return environment | {
        "MILLSTREAM_REWARDS__MINUTES": WINDOW_MINUTES,
        "MILLSTREAM_CHECKPOINTS__SECONDS": "5",
    }


class Shop:
    """Shows two items to users, of which they click on the second now and then."""

    def __init__(self, event_log: EventLog, writer: LogWriter, topics: Topics) -> None:
        self.log, self.topics = event_log, topics
        self.expected: dict[str, tuple[float, ...]] = {}
        self._writer = writer
        self._random = random.Random(0)
        self._numbers = count()
        for item in ITEMS:
            writer.append(topics.items, item, encode(Item(item=item, title=item)))

    def burst(self) -> None:
        """Show some answers; half of them are clicked on, and some clicks are sent twice."""
        for number in range(BURST):
            name, user = f"i{next(self._numbers)}", f"u{number % 5}"
            items = tuple(self._random.sample(ITEMS, 2))
            self._writer.append(self.topics.impressions, user, encode(impression(name, user, items)))
            self.expected[name] = (0.0, 0.0)
            if self._random.random() < 0.5:
                self.expected[name] = (0.0, 1.0)
                for _ in range(self._random.randint(1, 2)):
                    self.act(user, items[1], f"e-{name}", name)
        self._writer.flush()

    def act(self, user: str, item: str, event_id: str, name: str | None = None) -> None:
        event = Interaction(
            event_id=event_id,
            user=user,
            item=item,
            type=InteractionType.CLICK,
            time=1_700_000_000_000,
            impression=name,
        )
        self._writer.append(self.topics.interactions, user, encode(event))

    def written(self) -> Iterator[tuple[str, bytes]]:
        return ((one.key or "", one.value or b"") for one in read(self.log, self.topics.outcomes))


def test_each_outcome_is_written_once_whatever_is_killed(settings: Settings, daemons: Daemons) -> None:
    topics, moments = Topics(settings.log.prefix), random.Random(1)
    with closing(open_log(settings.log.url)) as event_log, event_log.writer() as writer:
        topics.create(event_log, *settings.log.topic_sizes)
        shop = Shop(event_log, writer, topics)
        daemons.start("learn")
        shop.burst()
        _wait(
            lambda: bool(event_log.reported(f"{topics.prefix}.learn", [topics.items])), "nothing is learned"
        )
        for _ in range(KILLS):
            for _ in range(ANSWERS // BURST // KILLS):
                shop.burst()
                time.sleep(moments.uniform(0, 0.6))
            daemons.kill("learn")
            daemons.start("learn")

        def closed() -> bool:
            """Acts of somebody else move the clock of the log on."""
            shop.act("clock", ITEMS[0], f"tick-{time.monotonic_ns()}")
            writer.flush()
            time.sleep(0.5)
            return dict(shop.written()).keys() == shop.expected.keys()

        _wait(closed, "not all outcomes are written")
        daemons.stop("learn")
        written = list(shop.written())
        assert len(set(written)) == len(shop.expected), "written again, it is the same"
        records = [OutcomeRecord.decode(wire) for _, wire in written]
        assert {one.impression: one.rewards for one in records} == shop.expected

        checkpoints = checkpoints_of(settings)
        learner, supervisor = make_learner(settings), make_supervisor(settings)
        position = rebuild(event_log, topics, learner, supervisor, checkpoints, from_nothing=True)
        digest = checkpoints.digest(capture(learner, supervisor, position))
        assert checkpoints.digests()[position.version] == digest
        assert position.generation == 1
        assert learner.stream.outcomes.open == 0
        assert Leftover.LATE not in learner.stream.outcomes.leftovers


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)
