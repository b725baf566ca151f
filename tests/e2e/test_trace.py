"""One trace shows one event's way: gateway, log, learn, publish, swap, answer, by three real daemons."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import httpx
import pytest

from pipeline.config import Settings
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.tracing import Stage, trace_id_of
from tests.support.collector import Collector, collecting
from tests.support.serve_tools import wait_until

PATIENCE_SECONDS = 120.0
APPEND_NS = 2_000_000
"""The log writes append times in whole milliseconds, and spans have them from floats."""
ITEMS = ["tea", "cup", "pot", "spoon"]
USER = "ann-whose-name-is-secret"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def environment(environment: dict[str, str], collector: Collector) -> dict[str, str]:
    return {
        **environment,
        "MILLSTREAM_GATEWAY__PORT": str(free_port()),
        "MILLSTREAM_TRACING__SHARE": "1",
        "MILLSTREAM_TRACING__ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }


def test_one_trace_shows_an_event_from_the_gateway_to_the_answer(
    settings: Settings, daemons: Daemons, collector: Collector
) -> None:
    with closing(open_log(settings.log.url)) as event_log:
        Topics(settings.log.prefix).create(event_log, *settings.log.topic_sizes)
    for daemon in ("gateway", "learn", "serve"):
        daemons.start(daemon)
    gateway, server = (f"http://127.0.0.1:{port}" for port in (settings.gateway.port, settings.serve.port))
    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        wait_until(lambda: is_ready(client, gateway), PATIENCE_SECONDS)
        wait_until(lambda: is_ready(client, server), PATIENCE_SECONDS)
        items = [{"item": item, "title": f"A {item}"} for item in ITEMS]
        client.post(f"{gateway}/v1/items", json=items).raise_for_status()
        now = int(time.time() * 1000)
        acts = [
            {"event_id": f"act-{n}", "user": USER, "item": item, "type": "view", "time": now + n}
            for n, item in enumerate(ITEMS)
        ]
        client.post(f"{gateway}/v1/interactions", json=acts).raise_for_status()
        trace = trace_id_of("act-2")

        def is_complete() -> bool:
            client.get(f"{server}/v1/users/{USER}/recommendations").raise_for_status()
            return set(collector.of(trace)) == set(Stage)

        wait_until(is_complete, PATIENCE_SECONDS)
        seen = client.get(f"{server}/metrics", headers={"Accept": "application/openmetrics-text"}).text
        traces = {trace_id_of(f"act-{n}") for n in range(len(ITEMS))}
        exemplars = re.findall(r'appended_to_served_seconds_bucket.*# {trace_id="(\w+)"}', seen)
        assert exemplars and {int(one, 16) for one in exemplars} <= traces
    spans = collector.of(trace)
    for before, after in pairwise(Stage):
        assert spans[after].parent == spans[before].span
        assert spans[after].ended >= spans[after].began > spans[before].began - APPEND_NS
    assert not spans[Stage.APPEND].parent
    services = [spans[stage].service.removeprefix("millstream-") for stage in Stage]
    assert services == ["gateway", "learn", "learn", "learn", "serve", "serve"]
    assert spans[Stage.SWAP].facts["millstream.snapshot"] >= spans[Stage.PUBLISH].facts["millstream.snapshot"]
    assert not any(USER.encode() in body for body in collector.bodies)


def is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
