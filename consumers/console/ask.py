"""The page *Ask*: what a user or a history would be recommended, and why; similar items; the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from consumers.console.access import SignedIn
from consumers.console.answers import Answer, ServerRefused, ServerUnavailable
from consumers.console.pages import UNKNOWN, is_fragment
from consumers.console.parts import ConsoleParts, Parts
from pipeline.events import Id
from pipeline.state.histories import Act
from pipeline.state.user_history import read_user

MOST_ACTS = 50
"""Of a history that is shown, the latest."""
MOST_ITEMS = 200
"""Of a history that is asked with."""

routes = APIRouter()


class HistoryLine(NamedTuple):
    """An act of a history, as it is shown."""

    item: str
    title: str
    type: str
    when: str


class ScorePart(NamedTuple):
    """What a part adds to a score, and how much of the largest part that is, from 0 to 1."""

    name: str
    nats: float
    share: float


class AnswerLine(NamedTuple):
    """An item of an answer, as it is shown."""

    place: int
    item: str
    title: str
    category: str
    score: float
    parts: Sequence[ScorePart]
    why: Sequence[str]


@routes.get("/ask", name="ask")
def ask(
    request: Request,
    parts: Parts,
    visitor: SignedIn,
    user: Annotated[str, Query(max_length=128)] = "",
    history: Annotated[str, Query(max_length=20_000)] = "",
) -> HTMLResponse:
    """Show what somebody would be recommended, beside their history."""
    items = history.replace(",", "\n").split("\n")
    chosen = [item.strip() for item in items if item.strip()][:MOST_ITEMS]
    values: dict[str, Any] = {"user": user, "history": "\n".join(chosen), "past": (), "attributes": {}}
    answer, fault = None, ""
    try:
        if user:
            known = read_user(parts.event_log, parts.topics, user)
            values |= {"past": _past(parts, (*known.published, *known.since)), "attributes": known.attributes}
            answer = parts.answers.for_user(user)
        elif chosen:
            values["past"] = [HistoryLine(item, parts.items.title(item), "", "") for item in reversed(chosen)]
            answer = parts.answers.for_history(chosen)
    except (ServerUnavailable, ServerRefused) as error:
        fault = str(error)
    return parts.pages.page(
        "ask.html", request, visitor, answer=answer, shown=_shown(parts, answer), fault=fault, **values
    )


@routes.get("/ask/items", name="items")
def items_page(
    request: Request, parts: Parts, visitor: SignedIn, q: Annotated[str, Query(max_length=256)] = ""
) -> HTMLResponse:
    """Search the catalogue."""
    found = parts.items.search(q)
    template = "items_found.html" if is_fragment(request) else "items.html"
    return parts.pages.page(template, request, visitor, q=q, found=found, known=len(parts.items))


@routes.get("/ask/similar", name="similar")
def similar_page(
    request: Request, parts: Parts, visitor: SignedIn, item: Annotated[Id, Query()]
) -> HTMLResponse:
    """Show the items most similar to one."""
    answer, fault = None, ""
    try:
        answer = parts.answers.similar_to(item)
    except (ServerUnavailable, ServerRefused) as error:
        fault = str(error)
    title = parts.items.title(item)
    return parts.pages.page(
        "similar.html",
        request,
        visitor,
        item=item,
        title=title,
        answer=answer,
        shown=_shown(parts, answer),
        fault=fault,
    )


def _past(parts: ConsoleParts, acts: Iterable[Act]) -> list[HistoryLine]:
    """The latest acts, newest first."""
    latest = list(acts)[-MOST_ACTS:]
    return [
        HistoryLine(act.item, parts.items.title(act.item), act.type.value, _when(act.time))
        for act in reversed(latest)
    ]


def _shown(parts: ConsoleParts, answer: Answer | None) -> list[AnswerLine]:
    items = answer["items"] if answer else []
    return [
        AnswerLine(
            place,
            one["item"],
            one["title"] or one["item"],
            one["category"] or "",
            one["score"],
            _parts(one["explanation"]),
            [*_why(parts, one, place)],
        )
        for place, one in enumerate(items, start=1)
    ]


def _parts(explanation: dict[str, Any] | None) -> list[ScorePart]:
    found = (explanation or {}).get("parts", {})
    largest = max((abs(nats) for nats in found.values()), default=0.0) or 1.0
    ordered = sorted(found.items(), key=lambda part: -abs(part[1]))
    return [ScorePart(name.replace("_", " "), nats, abs(nats) / largest) for name, nats in ordered]


def _why(parts: ConsoleParts, item: dict[str, Any], place: int) -> Iterator[str]:
    explanation = item["explanation"] or {}
    if cause := explanation.get("because"):
        title, lower = parts.items.title(cause["item"]), cause["place_without"]
        without = f"it would be in place {lower:,}" if lower > place else "its score would be lower"
        yield f"Owed to the {cause['type']} of {title}: without it, {without}."
    if companion := explanation.get("companion"):
        yield f"Often together with {parts.items.title(companion)}."
    if explanation.get("explored"):
        yield "Chance put it before better ones, so that it can be learned from."
    for rule in item["rules"] or []:
        yield f"The rule {rule['rule']} acted on it ({rule['nats']:+.2f} nats)."


def _when(time_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return UNKNOWN
