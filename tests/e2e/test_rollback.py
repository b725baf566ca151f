"""A poisoned promotion: the learner takes it back by itself, and no request fails meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from urllib.request import urlopen

import orjson
import pytest
import torch

from pipeline.assembly import checkpoints_of, make_learner
from pipeline.checkpoints.capture import capture
from pipeline.config import Settings
from pipeline.control.history import read_history
from pipeline.control.records import Adoption, Promotion
from pipeline.demo.processes import Daemons
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.retraining.candidates import Candidates
from pipeline.snapshots.snapshot import Manifest
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from tests.support.http_client import card

EVENTS, RATE = 9_000, 200
LEARNED_BEFORE = 4_000
PATIENCE_SECONDS = 120
BACK_SECONDS = 10.0


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With a checkpoint soon, to poison a copy of, and with all snapshots kept, to compare."""
    more = {"MILLSTREAM_CHECKPOINTS__SECONDS": "5", "MILLSTREAM_SNAPSHOTS__KEEP": "1000"}
    return environment | more


def test_a_poisoned_promotion_is_taken_back(settings: Settings, daemons: Daemons) -> None:
    with closing(open_log(settings.log.url)) as event_log, event_log.writer() as writer:
        topics = Topics(settings.log.prefix)
        topics.create(event_log, *settings.log.topic_sizes)
        daemons.start("learn")
        daemons.start("serve")
        daemons.start("play", f"shop:seed=3,events={EVENTS}", "--rate", str(RATE))
        _wait(lambda: card(settings).get("events", 0) >= LEARNED_BEFORE, "too little is learned")
        with Customer(settings) as customer:
            generation = _poison(settings)
            order = Promotion(candidate="poison", generation=generation, ordered_at=1, reason="a test")
            writer.append(topics.control, order.key, order.encode())
            writer.flush()
            _wait(lambda: customer.first("2-") is not None, "the poison is not served")
            _wait(lambda: customer.first("3-") is not None, "nothing was taken back")
            time.sleep(1)
        assert customer.failures == []
        poisoned, back = customer.first("2-"), customer.first("3-")
        assert poisoned is not None and back is not None
        assert back - poisoned < BACK_SECONDS

        store = SnapshotStore(settings.snapshots.store, settings.log.prefix)
        adoptions = [
            entry.record for entry in read_history(event_log, topics) if isinstance(entry.record, Adoption)
        ]
        promoted, returned = adoptions
        assert promoted.order == order.key
        assert returned.reason.startswith("at 2-")
        before, after = (_manifest(store, version) for version in (promoted.left, returned.version))
        assert after.digest == before.digest, "what served before serves again, bit for bit"
        assert after.offsets == before.offsets


class Customer:
    """Asks for recommendations all the time, and notes which version answers, and when it first did."""

    def __init__(self, settings: Settings) -> None:
        self._url = f"http://127.0.0.1:{settings.serve.port}/v1/users/u1/recommendations?k=5"
        self._settings = settings
        self._seen: dict[str, float] = {}
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.failures: list[str] = []

    def __enter__(self) -> Customer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._enough.set()
        self._thread.join()

    def first(self, generation: str) -> float | None:
        """When a version of a generation first answered."""
        return min((at for version, at in self._seen.items() if version.startswith(generation)), default=None)

    def _ask(self) -> None:
        while not self._enough.wait(0.02):
            try:
                with urlopen(self._url, timeout=5) as answer:
                    published = orjson.loads(answer.read())
                self._seen.setdefault(published["snapshot"], time.monotonic())
            except OSError as error:
                self.failures.append(repr(error))


def _poison(settings: Settings) -> int:
    """A candidate with random weights; returns its generation.

    It goes on from a checkpoint of as many events, of which the guard needs some: on a slow machine the last
    one may be much older than what is served.
    """
    checkpoints, learner = checkpoints_of(settings), make_learner(settings)

    def knows_enough() -> bool:
        return checkpoints.restore(learner, None) is not None and learner.stream.events >= LEARNED_BEFORE

    _wait(knows_enough, "no checkpoint knows enough")
    position = checkpoints.restore(learner, None)
    assert position is not None
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in learner.recommender.learned().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 20)
    checkpoints.write_to(
        Candidates(checkpoints.folder).named("poison").checkpoint, capture(learner, None, position)
    )
    return position.generation


def _manifest(store: SnapshotStore, version: str) -> Manifest:
    return store.manifest(Version.parse(version))


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)
