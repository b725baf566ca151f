"""How long the console takes to render its pages, with a large catalogue and a long history.

    python -m benchmarks.console --items 100000

Fills a log of its own, then asks the console's application for each page, in this process. The server's
answer is stood in for by one of ten items with explanations, because its time is the server's.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import orjson
import typer
from fastapi.testclient import TestClient
from rich.console import Console

from consumers.console.answers import Answers
from consumers.console.app import create_app
from consumers.console.daemon import make_parts
from pipeline.config import LogConfig, Settings, SnapshotConfig
from pipeline.control.alarms import DriftAlarm, Signal
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction, InteractionType, Item, encode
from pipeline.reports.layout import table

ACTS, ALARMS, LETTERS = 20_000, 500, 5_000
START_MS = 1_700_000_000_000
PAGES = {
    "Now": "/",
    "its points": "/now/points",
    "Ask": "/ask?user=u7",
    "similar items": "/ask/similar?item=i7",
    "search, one word that few titles have": "/ask/items?q=lamp+99999",
    "search, nothing found": "/ask/items?q=zebra",
    "models": "/change",
    "history": "/change/history",
    "policies": "/change/policies",
    "rules": "/change/rules",
    "dead letters": "/change/letters",
}
PARTS = ("model", "covisitation", "popularity", "repeat", "in_basket", "followed", "beside", "bias")


def main(
    items: Annotated[int, typer.Option(min=10, help="Items of the catalogue.")] = 100_000,
    times: Annotated[int, typer.Option(min=1, help="How often each page is asked for.")] = 30,
) -> None:
    """Print median and 95th percentile of each page, in ms."""
    with TemporaryDirectory(prefix="millstream-console-") as folder:
        found = measure(Path(folder), items, times)
    rows = [(name, f"{p50:.1f}", f"{p95:.1f}") for name, (p50, p95) in found.items()]
    headings = "page", "p50, ms", "p95, ms"
    Console().print(table(f"{items:,} items", headings, rows, right=headings[1:]), soft_wrap=True)


def measure(folder: Path, items: int, times: int) -> dict[str, tuple[float, float]]:
    """Return p50 and p95 of each page, in ms."""
    settings = Settings(
        log=LogConfig(url=f"sqlite:///{folder}/log.db", partitions=4),
        snapshots=SnapshotConfig(store=str(folder / "snapshots")),
    )
    topics = Topics(settings.log.prefix)
    with closing(open_log(settings.log.url)) as event_log, patch.object(Answers, "_get", _answer):
        topics.create(event_log, *settings.log.topic_sizes)
        _fill(event_log, topics, items)
        parts = make_parts(settings, event_log, Event())
        parts.items.read(read(event_log, topics.items))
        parts.watch.read()
        browser = TestClient(create_app(parts), base_url="http://127.0.0.1")
        assert browser.get("/").status_code == 200  # signs in
        return {name: _timed(browser, path, times) for name, path in PAGES.items()}


def _timed(browser: TestClient, path: str, times: int) -> tuple[float, float]:
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        answer = browser.get(path)
        taken.append(1_000 * (time.perf_counter() - began))
        assert answer.status_code == 200, answer.text
    p50, p95 = np.quantile(taken[1:], (0.5, 0.95))
    return float(p50), float(p95)


def _fill(event_log: EventLog, topics: Topics, items: int) -> None:
    with event_log.writer() as writer:
        for n in range(items):
            item = Item(item=f"i{n}", title=f"Lamp {n} of brass and glass", category=f"c{n % 50}")
            writer.append(topics.items, item.item, encode(item))
        for n in range(ACTS):
            act = Interaction(
                event_id=f"e{n}",
                user=f"u{n % 1_000}",
                item=f"i{n % items}",
                type=InteractionType.VIEW,
                time=START_MS + n,
            )
            writer.append(topics.interactions, act.user, encode(act))
        for step in range(ALARMS):
            alarm = DriftAlarm(
                signal=Signal.LEAD, generation=1, step=step, events=step, before=0, after=1, evidence={}
            )
            writer.append(topics.control, alarm.key, alarm.encode())
        for n in range(LETTERS):
            writer.append(topics.dead_letters, f"{topics.interactions}/0/{n}", _letter(topics, n))
        writer.flush()


def _letter(topics: Topics, n: int) -> bytes:
    where = {"topic": topics.interactions, "partition": 0, "offset": n, "append_time": START_MS}
    fault = {"code": "schema", "field": "user", "reason": "Field required", "value": "e30=", "size": 2}
    return orjson.dumps({**where, **fault})


def _answer(*_: object, **__: object) -> dict[str, Any]:
    """An answer of ten items, as the server explains them."""
    because = {"item": "i1", "type": "view", "time": START_MS, "score_without": 0.1, "place_without": 3}
    explanation = {
        "logit": 1.0,
        "parts": dict.fromkeys(PARTS, 0.5),
        "companion": "i2",
        "because": because,
        "propensity": 1.0,
        "explored": False,
    }
    item = {"item": "i3", "title": "Lamp 3", "category": "c3", "score": 0.1, "rules": None}
    head = {"snapshot": "1-1", "staleness_seconds": 0.5, "source": "model", "reason": None}
    return {**head, "items": [{**item, "explanation": explanation}] * 10}


if __name__ == "__main__":
    typer.run(main)
