"""The page *Ask*: what a user or a history would be recommended, and why, now and at an earlier snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from consumers.console.access import SignedIn
from consumers.console.answers import SHOWN_ITEMS, Answer, Answers, ServerRefused, ServerUnavailable
from consumers.console.change.snapshots import listed_snapshots
from consumers.console.earlier import EarlierUnavailable
from consumers.console.pages import is_fragment
from consumers.console.parts import ConsoleParts, Parts
from pipeline.bounded import VersionText
from pipeline.events import Id
from pipeline.reports.numbers import UNKNOWN
from pipeline.state.histories import Act
from pipeline.state.user_history import read_user

MOST_ACTS = 50
"""Of a history that is shown, the latest."""
MOST_ITEMS = 200
"""Of a history that is asked with."""

User = Annotated[str, Query(max_length=128)]
History = Annotated[str, Query(max_length=20_000)]

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


class RankMove(NamedTuple):
    """How an item's place differs from that in another answer: a tone for its colour, a mark, and words."""

    tone: str
    mark: str
    words: str


class AnswerLine(NamedTuple):
    """An item of an answer, as it is shown."""

    place: int
    item: str
    title: str
    category: str
    picture: str
    score: float
    parts: Sequence[ScorePart]
    why: Sequence[str]
    move: RankMove | None = None


@routes.get("/ask", name="ask")
def ask(
    request: Request,
    parts: Parts,
    visitor: SignedIn,
    user: User = "",
    history: History = "",
    at: Annotated[VersionText | Literal[""], Query()] = "",
) -> HTMLResponse:
    """Show what somebody would be recommended, beside their history; by the snapshot `at` a version, too."""
    chosen = _chosen(history)
    asked = {"user": user} if user else {"history": "\n".join(chosen)}
    values: dict[str, Any] = {"user": user, "history": "\n".join(chosen), "past": (), "attributes": {}}
    values |= {"at": at, "asked": urlencode(asked), "compares": parts.earlier.is_on}
    answer, fault = None, ""
    try:
        if user:
            known = read_user(parts.event_log, parts.topics, user)
            values |= {"past": _past(parts, (*known.published, *known.since)), "attributes": known.attributes}
        elif chosen:
            values["past"] = [HistoryLine(item, parts.items.title(item), "", "") for item in reversed(chosen)]
        if user or chosen:
            answer = None if at else _answer(parts.answers, user, chosen)
    except (ServerUnavailable, ServerRefused) as error:
        fault = str(error)
    return parts.pages.page(
        "ask.html", request, visitor, answer=answer, shown=_shown(parts, answer), fault=fault, **values
    )


@routes.get("/ask/snapshots")
def snapshots_part(
    request: Request,
    parts: Parts,
    visitor: SignedIn,
    user: User = "",
    history: History = "",
    served: Annotated[VersionText | Literal[""], Query()] = "",
) -> HTMLResponse:
    """Offer the snapshots that can be asked the same, beside the served one."""
    found, fault = listed_snapshots(parts.settings)
    others = [one for one in found if one.version != served]
    values: dict[str, Any] = {"user": user, "history": history, "snapshots": others, "fault": fault}
    return parts.pages.page("snapshots.html", request, visitor, **values)


@routes.get("/ask/beside")
def beside_part(
    request: Request,
    parts: Parts,
    visitor: SignedIn,
    at: Annotated[VersionText, Query()],
    user: User = "",
    history: History = "",
) -> HTMLResponse:
    """Show what is answered now and by an earlier snapshot, side by side; or that its server starts."""
    chosen = _chosen(history)
    now, then, fault, is_starting = None, None, "", False
    try:
        earlier = parts.earlier.answers(at)
        is_starting = earlier is None
        if earlier is not None:
            now, then = (_answer(server, user, chosen) for server in (parts.answers, earlier))
    except (EarlierUnavailable, ServerUnavailable, ServerRefused) as error:
        fault = str(error)
    sides = [
        ("Now", now, _compared(_shown(parts, now), _shown(parts, then), f"at {at}", "new")),
        (f"At {at}", then, _compared(_shown(parts, then), _shown(parts, now), "now", "gone")),
    ]
    asked = urlencode({"user": user, "at": at} if user else {"history": history, "at": at})
    values: dict[str, Any] = {"at": at, "asked": asked, "sides": sides, "is_starting": is_starting}
    return parts.pages.page("beside.html", request, visitor, fault=fault, **values)


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


def _chosen(history: str) -> list[str]:
    """The items of a history that a person wrote."""
    items = history.replace(",", "\n").split("\n")
    return [item.strip() for item in items if item.strip()][:MOST_ITEMS]


def _answer(server: Answers, user: str, history: list[str]) -> Answer:
    return server.for_user(user) if user else server.for_history(history)


def _compared(
    lines: Sequence[AnswerLine], others: Sequence[AnswerLine], where: str, without: str
) -> list[AnswerLine]:
    """Mark how the places of an answer's items differ from those in another; `without`: what is not there."""
    ranks = {line.item: line.place for line in others}
    return [line._replace(move=_move(line.place, ranks.get(line.item), where, without)) for line in lines]


def _move(place: int, other: int | None, where: str, without: str) -> RankMove | None:
    if other is None:
        return RankMove(without, without, f"not among the first {SHOWN_ITEMS} {where}")
    if other == place:
        return None
    tone, mark = ("up", "▲") if place < other else ("down", "▼")
    return RankMove(tone, f"{mark} {abs(place - other)}", f"place {other} {where}")


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
            parts.items.picture(one["item"]),
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
