"""The loop of values: shown, acted on, joined, learned, published, served, evaluated, and promoted.

Users click on what is red, which is worth nothing here, and take what is blue, if it is shown to them. The
model expects clicks on what is red; what blue is worth has to be learned from what came of answers. Learner
and server are killed in the middle.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from random import Random
from urllib.request import urlopen

import orjson
import pytest
from typer.testing import CliRunner

from consumers.audit.answers import reproduce_answer
from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.rebuild import rebuild
from pipeline.cli import app
from pipeline.config import Settings
from pipeline.demo.processes import Daemons
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, LogWriter, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Impression, Interaction, InteractionType, Item, decode, encode
from pipeline.snapshots.store import SnapshotStore
from pipeline.state.outcome_record import OutcomeRecord
from tests.support.http_client import card

COLOURS = ("red", "green", "blue")
ITEMS = tuple(f"{colour}-{thing}" for thing in range(8) for colour in COLOURS)
RED = [item for item in ITEMS if item.startswith("red")]
USERS = tuple(f"u{number}" for number in range(10))
SHOWN = 1
LEAST = 60
DRAWN = {"name": "thompson", "explored_places": 1, "pool": len(ITEMS)}
PATIENCE_SECONDS = 120


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """A window of some seconds, and values that are learned from few answers."""
    return environment | {
        "MILLSTREAM_REWARDS__MINUTES": "0.05",
        "MILLSTREAM_SIGNALS__CART": "0",  # else the mixture learns what is blue, and values overrule nothing
        "MILLSTREAM_REWARDS__CLICK": "0",
        "MILLSTREAM_REWARDS__LEAST": "0",
        "MILLSTREAM_REWARDS__MOST": "3",
        "MILLSTREAM_VALUE__LEARNERS": '["thompson", "dqn"]',
        "MILLSTREAM_VALUE__LEAST_DECISIONS": str(LEAST),
        "MILLSTREAM_POLICY__NAME": "thompson",
        "MILLSTREAM_POLICY__EXPLORED_PLACES": "1",
        "MILLSTREAM_POLICY__POOL": str(len(ITEMS)),
        "MILLSTREAM_POLICY__EPSILON": "0.5",
        "MILLSTREAM_POLICY__SHADOWS": orjson.dumps({"sure": {**DRAWN, "epsilon": 0}}).decode(),
        "MILLSTREAM_CHECKPOINTS__SECONDS": "5",
    }


class Customers:
    """Users who click on what is red of their own accord, and take what is blue if it is shown."""

    def __init__(self, settings: Settings, writer: LogWriter, topics: Topics) -> None:
        self._settings, self._writer, self._topics = settings, writer, topics
        self._numbers, self._random = count(), Random(0)

    def stock(self) -> None:
        for item in ITEMS:
            entry = Item(item=item, title=item.replace("-", " thing number "), category=item.split("-")[0])
            self._writer.append(self._topics.items, item, encode(entry))
        for _ in range(2):
            self.look_around()

    def look_around(self) -> None:
        """Let every user click on three red things."""
        for user in USERS:
            for item in self._random.sample(RED, 3):
                self.act(user, item, InteractionType.CLICK)
        self._writer.flush()

    def act(self, user: str, item: str, kind: InteractionType, impression: str | None = None) -> None:
        event = Interaction(
            event_id=f"e{next(self._numbers)}",
            user=user,
            item=item,
            type=kind,
            time=int(time.time() * 1000),
            impression=impression,
        )
        self._writer.append(self._topics.interactions, user, encode(event))

    def visit(self) -> float:
        """Let every user look at an answer; return the share of those whose first item is blue."""
        self.look_around()
        firsts: list[str] = []
        for user in USERS:
            url = f"http://127.0.0.1:{self._settings.serve.port}/v1/users/{user}/recommendations?k={SHOWN}"
            with urlopen(url) as response:
                answer = orjson.loads(response.read())
            items = [one["item"] for one in answer["items"]]
            for item in items:
                if item.startswith("blue"):
                    self.act(user, item, InteractionType.CART, answer["impression"])
            firsts += items[:1]
        self._writer.flush()
        return sum(item.startswith("blue") for item in firsts) / len(firsts)


def test_values_are_learned_from_what_was_shown_and_served(settings: Settings, daemons: Daemons) -> None:
    topics = Topics(settings.log.prefix)
    store = SnapshotStore(settings.snapshots.store, settings.log.prefix)
    with closing(open_log(settings.log.url)) as event_log, event_log.writer() as writer:
        topics.create(event_log, *settings.log.topic_sizes)
        customers = Customers(settings, writer, topics)
        customers.stock()
        daemons.start("learn")
        daemons.start("serve")
        _wait(lambda: bool(card(settings)), "no snapshot is served")
        before = sum(customers.visit() for _ in range(5)) / 5
        for daemon in ("learn", "serve"):
            daemons.kill(daemon)
            daemons.start(daemon)
        _wait(lambda: bool(card(settings)), "no snapshot is served after the kills")

        def is_learned() -> bool:
            customers.visit()
            daemons.check("learn", "serve")
            time.sleep(0.5)
            return bool(store.load(store.versions()[-1]).values)

        _wait(is_learned, "no values are published")
        after = [customers.visit()]

        def is_served() -> bool:
            time.sleep(0.5)
            after.append(customers.visit())
            return sum(after[-5:]) / 5 > before + 0.25

        _wait(is_served, f"{before:.2f} of what was shown was blue before, and never much more")

        since, said = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00"), [""]

        def is_promoted() -> bool:
            """Of what was shown before values were learned, the bold policy has earned more."""
            customers.visit()
            result = CliRunner().invoke(app, ["policy", "promote", "sure", "--since", since])
            said.append(result.output)
            return result.exit_code == 0

        _wait(is_promoted, lambda: f"what is known to be good is not promoted: {said[-1]}")

        def is_used() -> bool:
            customers.visit()
            newest = max(_shown(event_log, topics).values(), key=lambda one: one.time)
            return newest.policy_version is not None and newest.policy_version.endswith("epsilon=0.0")

        _wait(is_used, "the promoted policy is not used")

        def is_closed() -> bool:
            """Acts of somebody else move the clock of the log on."""
            customers.act("clock", ITEMS[0], InteractionType.CLICK)
            writer.flush()
            time.sleep(0.5)
            return _outcomes(event_log, topics).keys() == _shown(event_log, topics).keys()

        _wait(is_closed, "not all outcomes are published")
        for daemon in ("serve", "learn"):
            daemons.stop(daemon)
        shown, outcomes = _shown(event_log, topics), _outcomes(event_log, topics)
        assert any(_is_by_value(one) for one in shown.values()), "values overrule the mixture"
        for name, outcome in outcomes.items():
            blue = [item.startswith("blue") for item in shown[name].items]
            assert [reward > 0 for reward in outcome.rewards] == blue
        checkpoints = checkpoints_of(settings)
        learner, supervisor = make_learner(settings), make_supervisor(settings)
        position = rebuild(event_log, topics, learner, supervisor, checkpoints, from_nothing=True)
        digest = checkpoints.digest(capture(learner, supervisor, position))
        assert checkpoints.digests()[position.version] == digest
        assert set(learner.values.decisions.values()) == {len(outcomes)}
        assert not learner.values.skipped.total()
        again = next(name for name, one in reversed(shown.items()) if _is_by_value(one))
        found = reproduce_answer(event_log, topics, settings, again)
        assert found.same_items and found.same_scores and found.same_propensities


def _is_by_value(shown: Impression) -> bool:
    """Whether an item got its place because of its value: most likely so, and not as the mixture's best.

    What is drawn from all alike adds `epsilon` / 24 to a propensity, .02 at most. Several items are blue and
    worth the same, so none of them need be the best in most samples.
    """
    assert shown.propensities is not None
    greedy = shown.shadows.get("greedy", shown.propensities)
    return any(own > 0.1 and best == 0 for own, best in zip(shown.propensities, greedy, strict=True))


def _shown(event_log: EventLog, topics: Topics) -> dict[str, Impression]:
    found = (decode(Impression, record.value or b"") for record in read(event_log, topics.impressions))
    return {one.impression_id: one for one in found}


def _outcomes(event_log: EventLog, topics: Topics) -> dict[str, OutcomeRecord]:
    """The outcomes, each of which has the same bytes whenever it is published."""
    wires = {record.value or b"" for record in read(event_log, topics.outcomes)}
    records = [OutcomeRecord.decode(wire) for wire in wires]
    assert len({one.impression for one in records}) == len(records)
    return {one.impression: one for one in records}


def _wait(done: Callable[[], bool], otherwise: str | Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, otherwise if isinstance(otherwise, str) else otherwise()
        time.sleep(0.2)
