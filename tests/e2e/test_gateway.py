"""SIGKILL of the gateway while events are posted: what it acknowledged is in the log, each by one id."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

import httpx
import orjson
import pytest

from pipeline.config import Settings
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of
from pipeline.eventlog.port import read
from pipeline.eventlog.topics import Topics
from tests.support.serve_tools import wait_until

SENDERS = 4
LINES = 25
LEAST_REQUESTS = 30
KILLS = int(os.environ.get("GATEWAY_KILLS", "3"))
"""More of them: ``GATEWAY_KILLS=50 pytest tests/e2e/test_gateway.py``."""
PATIENCE_SECONDS = 60.0


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "MILLSTREAM_GATEWAY__PORT": str(free_port())}


@pytest.mark.parametrize("seed", [11])
def test_a_killed_gateway_loses_and_doubles_nothing(settings: Settings, daemons: Daemons, seed: int) -> None:
    moments, killed = random.Random(seed), Event()
    with closing(open_log(settings.log.url)) as event_log:
        topics = Topics(settings.log.prefix)
        topics.create(event_log, *settings.log.topic_sizes)
        daemons.start("gateway")
        with ThreadPoolExecutor(SENDERS) as threads:
            sending = [threads.submit(send, settings, number, killed) for number in range(SENDERS)]
            try:
                for _ in range(KILLS):
                    wait_until(lambda: is_ready(settings), PATIENCE_SECONDS)
                    time.sleep(moments.uniform(0.05, 0.5))
                    daemons.kill("gateway")
                    daemons.start("gateway")
            finally:
                killed.set()
            acknowledged = [users for sender in sending for users in sender.result(PATIENCE_SECONDS)]
        daemons.stop("gateway")
        stored = [interaction_of(record) for record in read(event_log, topics.interactions)]
    assert len(acknowledged) >= SENDERS * LEAST_REQUESTS * LINES
    assert {event.user for event in stored} == set(acknowledged)
    ids = {(event.event_id, event.user) for event in stored}
    assert len({event_id for event_id, _ in ids}) == len(ids) == len(acknowledged)


def send(settings: Settings, sender: int, killed: Event) -> list[str]:
    """Post requests until the last kill, and at least some; return the users of all events, each its own."""
    sent: list[str] = []
    with httpx.Client(base_url=url(settings), timeout=PATIENCE_SECONDS) as client:
        for number in requests(killed):
            users = [f"{sender}-{number}-{line}" for line in range(LINES)]
            post(client, f"request-{sender}-{number}", users)
            sent += users
    return sent


def requests(killed: Event) -> Iterator[int]:
    number = 0
    while number < LEAST_REQUESTS or not killed.is_set():
        yield number
        number += 1


def post(client: httpx.Client, key: str, users: list[str]) -> None:
    """Post events, and again until they are acknowledged."""
    body = b"\n".join(
        orjson.dumps({"user": user, "item": "a", "type": "view", "time": 1_790_000_000_000}) for user in users
    )
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = client.post("/v1/interactions", content=body, headers=headers)
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the gateway does not come back"
            time.sleep(0.05)
            continue
        assert (answer.status_code, answer.json()) == (202, {"accepted": LINES, "refused": []})
        return


def is_ready(settings: Settings) -> bool:
    try:
        return httpx.get(f"{url(settings)}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def url(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.gateway.port}"
