"""The page Now: what it shows, and what its stream sends."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from consumers.console.now import CHARTS, LIVE_PARTS, messages_of
from consumers.console.watch import Mark, Observation, Watch
from pipeline import metrics
from pipeline.config import CostConfig
from pipeline.control.alarms import DriftAlarm, Signal
from pipeline.control.records import Adoption
from pipeline.errors import LogUnavailable
from pipeline.eventlog.port import EventLog
from pipeline.reports import status_figures
from tests.support.console_harness import VIEWER_KEY, ConsoleHarness, keyed
from tests.support.serve_harness import World

ALARM = DriftAlarm(signal=Signal.LEAD, generation=1, step=2, events=9, before=0, after=1, evidence={})
ADOPTION = Adoption(order="rollback-1-1-9", version="2-1", left="1-3", reason="by hand")


def learner_series(events: float, quick: float = 0.0) -> metrics.Series:
    """What a learner exposes: events, and how many were learned within half a second, of so many."""
    name = "millstream_appended_to_learned_seconds_bucket"
    edges = {"0.5": quick, "1.0": events, "+Inf": events}
    return {
        ("millstream_events_total", frozenset({("daemon", "learn")})): events,
        **{(name, frozenset({("le", edge)})): count for edge, count in edges.items()},
    }


@pytest.fixture
def scraped(monkeypatch: pytest.MonkeyPatch) -> dict[str, metrics.Series]:
    """What each daemon exposes, by a part of its URL; others are away."""
    found: dict[str, metrics.Series] = {}

    def scrape(url: str, *_: Any) -> metrics.Series:
        if ":9101/" in url and "learn" in found:
            return found["learn"]
        raise OSError("away")

    monkeypatch.setattr(status_figures, "scrape", scrape)
    return found


def clock_of(*times: float) -> Any:
    remaining = list(times)
    return lambda: remaining.pop(0)


def test_the_page_shows_state_tiles_and_charts(
    console: ConsoleHarness, scraped: dict[str, metrics.Series]
) -> None:
    scraped["learn"] = learner_series(10)
    console.parts.watch.read()
    page = console.browser(VIEWER_KEY).get("/").text
    assert "A person must act" in page, "the server is away"
    for shown in ("Events learned", "Unread records", "Snapshot served", *(chart.title for chart in CHARTS)):
        assert shown in page
    assert "announced: 1-1" in page
    assert all(f'sse-swap="{name}"' in page for name in LIVE_PARTS)


def test_before_the_first_reading_the_page_says_so(open_shop: World) -> None:
    page = ConsoleHarness(open_shop).browser(VIEWER_KEY).get("/")
    assert page.status_code == 200
    assert "for the first time" in page.text


def test_rate_and_freshness_are_of_what_came_lately(world: World, scraped: dict[str, metrics.Series]) -> None:
    watch = Watch(world.settings, world.log, world.topics, clock_of(100.0, 102.0, 104.0))
    scraped["learn"] = learner_series(1_000, quick=0)
    watch.read()
    assert watch.observed.point["rate"] is None
    scraped["learn"] = learner_series(1_040, quick=40)
    watch.read()
    assert watch.observed.point["rate"] == 20
    assert watch.observed.point["learned"] == pytest.approx(0.25), "only the 40 new ones count, all quick"
    scraped.clear()
    watch.read()
    assert watch.observed.point["learned"] is None
    assert watch.columns()["time"] == [100.0, 102.0, 104.0]


def test_alarms_and_adoptions_are_marked(world: World, scraped: dict[str, metrics.Series]) -> None:
    with world.log.writer() as writer:
        for record in (ALARM, ADOPTION):
            writer.append(world.topics.control, record.key, record.encode())
        writer.flush()
    watch = Watch(world.settings, world.log, world.topics)
    watch.read()
    assert [(mark.label, mark.is_alarm) for mark in watch.observed.marks] == [
        ("alarm: lead", True),
        ("2-1", False),
    ]


def test_a_log_that_is_away_leaves_what_was_read(
    world: World, scraped: dict[str, metrics.Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = ConsoleHarness(world)
    watch = console.parts.watch
    watch.read()
    before = watch.observed

    def away(*_: object) -> None:
        raise LogUnavailable("no broker answers")

    monkeypatch.setattr("consumers.console.watch.gather", away)
    watch.read()
    assert (watch.observed.status, watch.observed.away) == (before.status, "no broker answers")
    assert watch.observed.number == before.number + 1
    assert "The event log is away: no broker answers" in console.browser(VIEWER_KEY).get("/").text


def test_the_stream_sends_each_part_and_the_newest_point(console: ConsoleHarness) -> None:
    console.parts.watch.read()
    status = console.parts.watch.observed.status
    observed = Observation(3, status, {"time": 7.0, "rate": 2.0}, (Mark(6.0, "alarm: loss", True),))
    messages = [*messages_of(observed, console.parts.pages, CostConfig())]
    names = [message.partition("\n")[0] for message in messages]
    assert names == [f"event: {name}" for name in (*LIVE_PARTS, "point")]
    assert all(message.endswith("\n\n") for message in messages)
    newest = orjson.loads(messages[-1].split("data: ")[1])
    assert newest == {
        "point": {"time": 7.0, "rate": 2.0},
        "marks": [{"time": 6.0, "label": "alarm: loss", "alarm": True}],
    }


def test_a_million_events_cost_processor_time(world: World, scraped: dict[str, metrics.Series]) -> None:
    busy = ("process_cpu_seconds_total", frozenset[tuple[str, str]]())
    cost = CostConfig(machine_hour=2.0, processors=4, currency="EUR")
    console = ConsoleHarness(world, keyed().replace(cost=cost))
    browser = console.browser(VIEWER_KEY)
    for events, seconds, shown in ((1_000, 50.0, "–"), (1_000, 50.0, "–"), (3_000, 68.0, "EUR 1.25")):
        scraped["learn"] = {**learner_series(events), busy: seconds}
        console.parts.watch.read()
        page = browser.get("/").text
        assert f'<p class="value">{shown}</p>' in page[page.index("A million events") :]
    scraped["learn"] = {**learner_series(4_000), busy: 1.0}
    console.parts.watch.read()
    assert console.parts.watch.observed.point["million"] is None, "it has started again"


def test_without_a_price_no_costs_are_shown(console: ConsoleHarness) -> None:
    console.parts.watch.read()
    assert "A million events" not in console.browser(VIEWER_KEY).get("/").text


def test_the_stream_ends_with_the_console(open_shop: World) -> None:
    console = ConsoleHarness(open_shop)
    browser = console.browser(VIEWER_KEY)
    console.parts.stop.set()
    answer = browser.get("/now/stream")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.text == ""


def test_points_come_by_name(console: ConsoleHarness) -> None:
    console.parts.watch.read()
    found = console.browser(VIEWER_KEY).get("/now/points").json()
    drawn = {line.key for chart in CHARTS for line in chart.lines}
    assert drawn | {"time"} <= set(found["points"])
    assert len({len(values) for values in found["points"].values()}) == 1


def test_gathering_hands_out_what_it_scraped(world: World, scraped: dict[str, metrics.Series]) -> None:
    scraped["learn"] = learner_series(5)
    log: EventLog = world.log
    found: dict[str, metrics.Series] = {}
    status_figures.gather(world.settings, log, world.topics, 1, found)
    assert found == {"learn": learner_series(5)}
