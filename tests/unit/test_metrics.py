"""Metrics: named by one rule, without users or items, and read back as they were exposed."""

from __future__ import annotations

import math
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from pydantic import SecretStr

from pipeline import metrics
from pipeline.demo.processes import free_port
from pipeline.errors import InvalidSettings
from pipeline.metrics import Series, exposition, quantiles, scrape, value_of
from pipeline.metrics_port import MetricsRequest
from tests.support.serve_tools import wait_until

Metric = Counter | Gauge | Histogram
Exposed = Callable[[], Series]
DECLARED: dict[str, Metric] = {
    name: declared for name, declared in vars(metrics).items() if isinstance(declared, Metric)
}
LABELS = {
    *(
        "daemon",
        "scorer",
        "slice",
        "figure",
        "route",
        "status",
        "outcome",
        "signal",
        "kind",
        "reason",
        "sign",
    ),
    *(
        "topic",
        "rule",
        "certainty",
        "policy",
        "choice",
        "arm",
        "learner",
        "group",
        "of",
        "folder",
        "encoder",
        "modality",
    ),
}


def exposed_name(metric: Metric) -> str:
    """As Prometheus sees it."""
    (family,) = metric.collect()
    return f"{family.name}_total" if isinstance(metric, Counter) else family.name


@pytest.mark.parametrize("name", DECLARED)
def test_a_series_is_named_by_the_rule(name: str) -> None:
    metric = DECLARED[name]
    declared = exposed_name(metric)
    assert re.fullmatch(r"millstream(_[a-z]+)+", declared)
    assert declared.endswith("_total") == isinstance(metric, Counter)
    other_units = r"_(ms|millis|milliseconds|minutes|hours|kb|mb|percent)(_|$)"
    assert not re.search(other_units, declared)
    (family,) = metric.collect()
    assert family.documentation


@pytest.mark.parametrize("name", DECLARED)
def test_no_label_grows_with_users_items_or_versions(name: str) -> None:
    assert set(DECLARED[name]._labelnames) <= LABELS


def test_there_are_series() -> None:
    assert len(DECLARED) > 20
    assert len({exposed_name(metric) for metric in DECLARED.values()}) == len(DECLARED)


def test_what_is_exposed_is_scraped(exposed: Exposed) -> None:
    before = value_of(exposed(), "millstream_duplicates_total", daemon="test")
    metrics.DUPLICATES.labels("test").inc(3)
    metrics.ITEMS.labels("test").set(12)
    after = exposed()
    assert value_of(after, "millstream_duplicates_total", daemon="test") - before == 3
    assert value_of(after, "millstream_items", daemon="test") == 12
    assert value_of(after, "millstream_items", daemon="nobody") == 0
    assert value_of(after, "millstream_nothing") == 0
    assert b'millstream_items{daemon="test"} 12.0' in exposition()[0]


def test_openmetrics_has_the_exemplars() -> None:
    metrics.LEARNED_FRESHNESS.observe(0.3, {"trace_id": "f" * 32})
    body, form = exposition("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert form.startswith("application/openmetrics-text")
    assert f'# {{trace_id="{"f" * 32}"}} 0.3'.encode() in body
    body, form = exposition("text/plain")
    assert form.startswith("text/plain")
    assert b"trace_id" not in body


def test_nobody_answers_where_nothing_is_served() -> None:
    metrics.serve_metrics("127.0.0.1", 0)
    with pytest.raises(OSError):
        scrape(f"http://127.0.0.1:{free_port()}/metrics", timeout_seconds=1)


def test_an_address_that_cannot_be_listened_at_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSettings, match=f"served at 127.0.0.1:{port} .* another port in .metrics"):
            metrics.check_port("127.0.0.1", port)
    metrics.check_port("127.0.0.1", port)
    metrics.check_port("no such host", 0)
    with pytest.raises(InvalidSettings, match=f"served at no such host:{port} "):
        metrics.serve_metrics("no such host", port)


@pytest.fixture
def waits() -> Iterator[Histogram]:
    """A histogram that nobody else in this process observes."""
    histogram = Histogram("waits_seconds", "Of a test", buckets=metrics.SECONDS)
    yield histogram
    REGISTRY.unregister(histogram)


def test_quantiles_of_a_scraped_histogram(exposed: Exposed, waits: Histogram) -> None:
    assert quantiles(exposed(), "waits_seconds", [0.5]) == [None]
    for seconds in [0.02] * 50 + [0.4] * 45 + [1000] * 5:
        waits.observe(seconds)
    p10, p50, p90, p100 = quantiles(exposed(), "waits_seconds", [0.1, 0.5, 0.9, 1.0])
    assert p10 is not None and 0.01 <= p10 <= 0.025
    assert p50 == pytest.approx(0.025)
    assert p90 is not None and 0.25 <= p90 <= 0.5
    assert p100 == 300, "beyond the last bucket nothing is known but that it is beyond"


@given(seconds=st.lists(st.floats(0, 4), min_size=1, max_size=40), share=st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    edges = [*metrics.SECONDS, math.inf]
    series = {
        ("h_bucket", frozenset({("le", str(edge))})): float(sum(s <= edge for s in seconds)) for edge in edges
    }
    (declared,) = quantiles(series, "h", [share])
    true = sorted(seconds)[math.ceil(share * len(seconds) - 1e-9) - 1]
    upper = next(edge for edge in edges if true <= edge)
    lower = max([0.0, *(edge for edge in edges if edge < upper)])
    assert declared is not None
    assert lower - 1e-9 <= declared <= upper + 1e-9


def test_clients_that_say_nothing_or_go_away_leave_no_thread_and_no_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MetricsRequest, "timeout", 0.3)
    port, before = free_port(), threading.active_count()
    metrics.serve_metrics("127.0.0.1", port)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    for sent in (b"GET /metr", b"GET /metrics HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"a" * 70_000):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(sent)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends by a reset
    assert [one.recv(1) for one in silent] == [b""] * len(silent)
    wait_until(lambda: threading.active_count() == before + 1)
    assert capfd.readouterr().err == ""


def test_a_metrics_port_asks_for_the_same_keys_as_the_server() -> None:
    port, key = free_port(), "a key of sixteen characters"
    metrics.serve_metrics("127.0.0.1", port, [SecretStr(key)])
    url = f"http://127.0.0.1:{port}/metrics"
    for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "another"}):
        with pytest.raises(HTTPError, match="401"):
            urlopen(Request(url, headers=headers), timeout=5)
    with urlopen(Request(url, headers={"X-API-Key": key}), timeout=5) as answer:
        assert b"millstream_" in answer.read()
    with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        assert answer.read() == b'{"status":"ok"}'
