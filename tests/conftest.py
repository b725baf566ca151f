"""Fixtures for every tier: a real broker, an event log on each engine, names that nobody else uses."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from deploy.kafka.broker import Broker, missing_tools

# Readline, which pytest imports, puts the size of a terminal into the environment of a worker; rich takes it
# for every table's.
for variable in ("COLUMNS", "LINES"):
    os.environ.pop(variable, None)


IN_TURN = ("tests/chaos/", "tests/deploy/", "tests/e2e/")


class OneByOne(LoadScopeScheduling):  # type: ignore[misc]
    """Give tests that run daemons or Debian's programs to one worker, and all others by file to the free one.

    Daemons of two such tests at once would share the cores with each other, and downloads of the caches.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "in turn" if nodeid.startswith(IN_TURN) else nodeid.split("::", maxsplit=1)[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneByOne:
    """Deal out the tests of `pytest -n 2` in their order, which begins with those that run daemons.

    By default the scope of the most tests comes first, but these few take the longest.
    """
    config.option.loadscopereorder = False
    return OneByOne(config, log)


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real broker for the whole session; under CI it must be there."""
    missing = missing_tools()
    if missing:
        reason = f"no Kafka broker: {' and '.join(missing)} not found (Java 17 or newer, Maven)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with Broker(tmp_path_factory.mktemp("kafka"), quick_start=True) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_url(kafka_broker: Broker) -> str:
    """The URL of the broker."""
    return kafka_broker.url


@pytest.fixture(params=["sqlite", "kafka"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an event log, once on each engine."""
    if request.param == "kafka":
        url: str = request.getfixturevalue("kafka_url")
        return url
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def prefix() -> str:
    """A topic prefix of this test's own: the broker is shared."""
    return f"t{uuid.uuid4().hex[:12]}"
