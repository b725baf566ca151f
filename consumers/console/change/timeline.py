"""The history as a timeline: alarms, requests, decisions, orders, and who asked for them."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from consumers.console.access import SignedIn
from consumers.console.pages import is_fragment
from consumers.console.parts import Parts
from pipeline.control.actions import OperatorAction
from pipeline.control.alarms import BudgetSpent, DriftAlarm
from pipeline.control.history import HistoryEntry, read_history
from pipeline.control.records import Adoption, ControlRecord, Gap, Refusal
from pipeline.reports.history import history_cells

MOST_ENTRIES = 200
routes = APIRouter()


class TimelineEntry(NamedTuple):
    """A record of the history: when, what kind of news it is, and what an operator reads of it."""

    time: int
    tone: str
    event: str
    version: str
    figures: str
    reason: str


@routes.get("/change/history", name="history")
def history_page(request: Request, parts: Parts, visitor: SignedIn) -> HTMLResponse:
    """Show what happened to the model, newest first."""
    history = read_history(parts.event_log, parts.topics)[-MOST_ENTRIES:]
    entries = [_entry(one) for one in reversed(history)]
    template = "timeline.html" if is_fragment(request) else "history.html"
    return parts.pages.page(template, request, visitor, entries=entries)


def _entry(entry: HistoryEntry) -> TimelineEntry:
    version, event, figures, reason = history_cells(entry.record)
    said = f"{event}: {entry.result}" if entry.result else event
    return TimelineEntry(entry.append_time, _tone(entry.record), said, version, figures, reason)


def _tone(record: ControlRecord) -> str:
    match record:
        case DriftAlarm() | BudgetSpent() | Refusal() | Gap():
            return "alarm"
        case Adoption():
            return "done"
        case OperatorAction():
            return "person"
    return "plain"
