"""The page *Now*: figures as they are, and how they came to be, kept current by server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from consumers.console.access import SignedIn
from consumers.console.pages import Pages
from consumers.console.parts import ConsoleParts, Parts
from consumers.console.watch import Mark, Observation
from pipeline.config import CostConfig
from pipeline.reports.numbers import UNKNOWN, mib, number, seconds
from pipeline.reports.status_figures import OPTIONAL, SCORERS

LIVE_PARTS = ("state", "tiles", "daemons", "quality", "letters")
"""Parts of the page that are replaced at each observation; each is a template, and an event of the stream."""
LOOK_SECONDS = 0.2
STAGE_NAMES = ("learned", "published", "served")

routes = APIRouter()


class ChartLine(NamedTuple):
    """A line of a chart: its name, the points that it draws, and the number of its colour."""

    name: str
    key: str
    colour: int


class Chart(NamedTuple):
    """Lines over time; the unit stands behind the figures."""

    title: str
    unit: str
    digits: int
    lines: tuple[ChartLine, ...]

    @property
    def spec(self) -> dict[str, Any]:
        """What the script draws it from."""
        return {**self._asdict(), "lines": [line._asdict() for line in self.lines]}


def _by_scorer(begin: str) -> tuple[ChartLine, ...]:
    return tuple(ChartLine(name, f"{begin}_{name}", colour) for colour, name in enumerate(SCORERS))


CHARTS = (
    Chart("Events learned a second", "/s", 0, (ChartLine("events", "rate", 0),)),
    Chart(
        "Seconds from append, median",
        "s",
        2,
        tuple(ChartLine(stage, stage, colour) for colour, stage in enumerate(STAGE_NAMES)),
    ),
    Chart("Hit rate among the first 20", "", 3, _by_scorer("hr")),
    Chart("Log-loss, in nats", "", 3, _by_scorer("loss")),
)


class Tile(NamedTuple):
    """A figure with its name, and what explains it."""

    name: str
    value: str
    about: str


@routes.get("/", name="now")
def now_page(request: Request, parts: Parts, visitor: SignedIn) -> HTMLResponse:
    """Show the latest figures."""
    return parts.pages.page(
        "now.html",
        request,
        visitor,
        charts=CHARTS,
        parts=LIVE_PARTS,
        **_values(parts.watch.observed, parts.settings.console.cost),
    )


@routes.get("/now/points", name="points")
def points(parts: Parts, visitor: SignedIn) -> JSONResponse:
    """Return the points of the last hour by name, and the marks."""
    marks = [_mark(mark) for mark in parts.watch.observed.marks]
    return JSONResponse({"points": parts.watch.columns(), "marks": marks})


@routes.get("/now/stream", name="stream")
async def stream(parts: Parts, visitor: SignedIn) -> StreamingResponse:
    """Send the parts of the page whenever there is a new observation."""
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_messages(parts), media_type="text/event-stream", headers=headers)


async def _messages(parts: ConsoleParts) -> AsyncIterator[str]:
    sent = -1
    while not parts.stop.is_set():
        observed = parts.watch.observed
        if observed.number != sent:
            sent = observed.number
            yield "".join(messages_of(observed, parts.pages, parts.settings.console.cost))
        await asyncio.sleep(LOOK_SECONDS)


def messages_of(observed: Observation, pages: Pages, cost: CostConfig) -> Iterator[str]:
    """Yield the events of an observation, as the stream has them."""
    values = _values(observed, cost)
    for name in LIVE_PARTS:
        yield _event(name, pages.text(f"now_{name}.html", **values))
    newest = {"point": dict(observed.point), "marks": [_mark(mark) for mark in observed.marks]}
    yield _event("point", orjson.dumps(newest).decode())


def _event(name: str, text: str) -> str:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() if line.strip())
    return f"event: {name}\n{lines}\n"


def _mark(mark: Mark) -> dict[str, object]:
    return {"time": mark.time, "label": mark.label, "alarm": mark.is_alarm}


def _values(observed: Observation, cost: CostConfig) -> dict[str, Any]:
    status = observed.status
    tiles = [*_tiles(observed), *_cost(observed, cost)] if status else []
    return {"observed": observed, "status": status, "scorers": SCORERS, "optional": OPTIONAL, "tiles": tiles}


def _tiles(observed: Observation) -> Iterator[Tile]:
    status, point = observed.status, observed.point
    assert status is not None
    yield Tile("Events learned", f"{number(point.get('rate'))}/s", "over the last readings")
    unread = ", ".join(f"{name} {number(count)}" for name, count in status.lag.items())
    yield Tile("Unread records", number(sum(count or 0 for count in status.lag.values())), unread)
    p50, p95 = status.freshness["served"]
    yield Tile("Append to served", seconds(point.get("served") or p50), f"95 of 100 within {seconds(p95)}")
    yield Tile("Staleness", seconds(status.staleness_seconds), "age of the oldest record not learned")
    served = next((one.version for one in status.daemons if one.name == "serve"), None)
    yield Tile("Snapshot served", served or UNKNOWN, f"announced: {status.snapshot or UNKNOWN}")
    letters = status.dead_letters
    recent = sum(letters.recent.values())
    yield Tile("Dead letters", number(sum(letters.by_reason.values())), f"{recent:,} in the last 10 minutes")
    sizes = [one.memory_bytes for one in status.daemons if one.memory_bytes]
    yield Tile("Memory", mib(sum(sizes) if sizes else None), "of all daemons that tell")


def _cost(observed: Observation, cost: CostConfig) -> Iterator[Tile]:
    """What a million events cost, if the settings have a price."""
    if cost.machine_hour is None:
        return
    hours = observed.point.get("million")
    price = None if hours is None else hours * cost.machine_hour / cost.processors
    value = UNKNOWN if price is None else f"{cost.currency} {price:,.2f}".strip()
    yield Tile("A million events", value, "processor time of all daemons that tell, last 10 minutes")
