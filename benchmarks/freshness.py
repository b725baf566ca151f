"""How fresh answers are: time from an act's append until its weights are served, and until an answer has it.

    MILLSTREAM_SNAPSHOTS__SECONDS=0.5 python -m benchmarks.freshness --rate 500

Learner and server are processes on an embedded log. Acts are appended and requests sent at steady rates; now
and then somebody new acts, and asks until the answer is personal.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import httpx
import typer
from rich.console import Console

from benchmarks.feed import OPENING, START_SECONDS, Feed, act_of, running, wait_until_served
from pipeline.cli.terminal import ReportOption
from pipeline.config import load_settings
from pipeline.errors import MillstreamError
from pipeline.eventlog.topics import Topics
from pipeline.events import encode
from pipeline.metrics import Series, quantiles, scrape, value_of

TITLES, CONNECTIONS, SETTLE_SECONDS, PROBE_SECONDS = 100, 4, 10.0, 0.25
MS = 1_000
STAGES = {"learned": "learn", "published": "learn", "served": "serve"}
"""The histograms of time since the append, by the daemon that has them."""


def main(
    rate: Annotated[float, typer.Option(help="Acts a second.")] = 500,
    requests: Annotated[float, typer.Option(help="Requests a second.")] = 100,
    seconds: Annotated[float, typer.Option(help="Seconds that are measured.")] = 60,
    report: ReportOption = None,
) -> None:
    """Act and ask; print how old acts were when they were learned, published, served and seen."""
    with TemporaryDirectory() as folder, running(Path(folder)) as (log, urls, daemons):
        topics = Topics(load_settings().log.prefix)
        feed = Feed(log, topics, urls["serve"].removesuffix("/metrics"), titles=TITLES)
        figures = _measured(feed, urls, rate, requests, seconds, lambda: daemons.check("learn", "serve"))
        figures |= {"rate": rate, "requests": requests, "load": os.getloadavg()[0]}
    Console().print_json(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    if report:
        report.write_text(json.dumps(figures, indent=2) + "\n")


def _measured(
    feed: Feed,
    urls: dict[str, str],
    rate: float,
    requests: float,
    seconds: float,
    check: Callable[[], None],
) -> dict[str, float]:
    """Run acts, requests and newcomers; return figures of the given seconds, once all has settled."""
    feed.add_items(0, OPENING)
    with ThreadPoolExecutor(2 + CONNECTIONS) as threads:
        try:
            wait_until_served(urls, check)
            threads.submit(feed.act, rate)
            _wait_until_settled(urls["learn"], rate, check)
            before = _scraped(urls)
            newcomers = threads.submit(seen, feed)
            asking = [threads.submit(feed.ask, requests / CONNECTIONS) for _ in range(CONNECTIONS)]
            time.sleep(seconds)
            check()
            after = _scraped(urls)
        finally:
            feed.stop.set()
    passed = {daemon: since(before[daemon], after[daemon]) for daemon in urls}
    latencies = sorted(latency for answers in asking for latency in answers.result())
    return {
        **ages(passed),
        "learned_per_second": value_of(passed["learn"], "millstream_events_total", daemon="learn") / seconds,
        "swaps_per_second": value_of(passed["serve"], "millstream_swaps_total") / seconds,
        **{
            f"{daemon}_cores": value_of(passed[daemon], "process_cpu_seconds_total") / seconds
            for daemon in urls
        },
        **percentiles("seen", sorted(newcomers.result())),
        **percentiles("request", latencies),
        "requests_per_second": len(latencies) / seconds,
    }


def _wait_until_settled(learn: str, rate: float, check: Callable[[], None]) -> None:
    """Wait until the learner is less than a second of acts behind."""
    deadline = time.monotonic() + START_SECONDS
    time.sleep(SETTLE_SECONDS)
    while value_of(scrape(learn), "millstream_lag_records", daemon="learn") >= rate:
        check()
        if time.monotonic() > deadline:
            raise MillstreamError(f"the learner does not keep up with {rate:g} acts a second")
        time.sleep(PROBE_SECONDS)


def seen(feed: Feed) -> list[float]:
    """Let somebody new act now and then; return the ms from each act until an answer has it."""
    found = list[float]()
    with feed.log.writer() as writer, httpx.Client(base_url=feed.url, timeout=START_SECONDS) as client:
        for number in count():
            if feed.stop.wait(PROBE_SECONDS):
                break
            act = act_of(f"new{number}", f"newcomer{number}", "i0")
            writer.append(feed.topics.interactions, act.user, encode(act))
            began = time.monotonic()
            while not _is_personal(client, act.user) and not feed.stop.is_set():
                pass
            found.append(MS * (time.monotonic() - began))
    return found


def since(before: Series, after: Series) -> Series:
    """Return what was counted between two scrapes."""
    return {key: value - before.get(key, 0.0) for key, value in after.items()}


def _is_personal(client: httpx.Client, user: str) -> bool:
    answer = client.get(f"/v1/users/{user}/recommendations").raise_for_status()
    return bool(answer.json()["source"] == "model")


def _scraped(urls: dict[str, str]) -> dict[str, Series]:
    return {daemon: scrape(url) for daemon, url in urls.items()}


def ages(passed: dict[str, Series]) -> dict[str, float]:
    """Return seconds since the append, by stage and percentile."""
    figures = dict[str, float]()
    for stage, daemon in STAGES.items():
        found = quantiles(passed[daemon], f"millstream_appended_to_{stage}_seconds", (0.5, 0.95))
        names = (f"{stage}_p50", f"{stage}_p95")
        figures |= {name: age or math.nan for name, age in zip(names, found, strict=True)}
    return figures


def percentiles(name: str, sorted_ms: list[float]) -> dict[str, float]:
    """Return two percentiles of sorted ms."""
    return {f"{name}_p{share}_ms": sorted_ms[len(sorted_ms) * share // 100] for share in (50, 99)}


if __name__ == "__main__":
    typer.run(main)
