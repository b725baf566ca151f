"""Learning, candidates and snapshots, and what may be done: pause, resume, promote, reject, roll back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from consumers.console.access import Operator, SignedIn
from consumers.console.change.outcome import GivenReason, acted, signed
from consumers.console.change.snapshots import listed_snapshots
from consumers.console.parts import Parts
from pipeline.bounded import VersionText
from pipeline.control.alarms import RetrainRequest
from pipeline.control.history import HistoryEntry, read_history
from pipeline.control.pauses import standing_pause
from pipeline.control.records import CandidateName, GateDecision

routes = APIRouter()
Checked = Annotated[bool, Form()]


@routes.get("/change", name="change")
def models_page(request: Request, parts: Parts, visitor: SignedIn) -> HTMLResponse:
    """Show whether learning is paused, candidates and snapshots."""
    history = read_history(parts.event_log, parts.topics)
    snapshots, fault = listed_snapshots(parts.settings)
    status = parts.watch.observed.status
    served = next((one.version for one in status.daemons if one.name == "serve"), None) if status else None
    return parts.pages.page(
        "models.html",
        request,
        visitor,
        pause=standing_pause(entry.record for entry in history),
        candidates=_decisions(history),
        open_requests=[one for one in history if isinstance(one.record, RetrainRequest) and not one.result],
        snapshots=snapshots,
        fault=fault,
        served=served,
    )


@routes.post("/change/pause")
def pause(request: Request, parts: Parts, visitor: Operator, reason: GivenReason) -> HTMLResponse:
    """Order the learner to learn nothing new for now."""
    command = ["pause", signed(reason, visitor)]
    return acted(parts, request, visitor, "pause learning", "", reason, command)


@routes.post("/change/resume")
def resume(request: Request, parts: Parts, visitor: Operator, reason: GivenReason) -> HTMLResponse:
    """Order the learner to learn on."""
    command = ["resume", signed(reason, visitor)]
    return acted(parts, request, visitor, "resume learning", "", reason, command)


@routes.get("/change/candidate", name="candidate")
def candidate_page(
    request: Request, parts: Parts, visitor: SignedIn, name: Annotated[CandidateName, Query()]
) -> HTMLResponse:
    """Show what was decided about a candidate, and offer to decide otherwise."""
    found = [one for one in _decisions(read_history(parts.event_log, parts.topics)) if one.candidate == name]
    if not found:
        raise HTTPException(404, "no decision on a candidate of this name is in the history")
    return parts.pages.page("candidate.html", request, visitor, decision=found[0])


@routes.get("/change/rollback", name="rollback")
def rollback_page(
    request: Request, parts: Parts, visitor: SignedIn, version: Annotated[VersionText, Query()]
) -> HTMLResponse:
    """Ask whether to return to a version, and why."""
    return parts.pages.page("rollback.html", request, visitor, version=version)


@routes.post("/change/rollback")
def roll_back(
    request: Request,
    parts: Parts,
    visitor: Operator,
    version: Annotated[VersionText, Form()],
    reason: GivenReason,
    relearn: Checked = False,
) -> HTMLResponse:
    """Order learner and servers to return to a version."""
    command = ["rollback", signed(reason, visitor), *(["--relearn"] if relearn else []), "--", version]
    return acted(parts, request, visitor, "rollback", version, reason, command)


@routes.post("/change/promote")
def promote(
    request: Request,
    parts: Parts,
    visitor: Operator,
    name: Annotated[CandidateName, Form()],
    reason: GivenReason,
    force: Checked = False,
) -> HTMLResponse:
    """Order the learner to adopt a candidate."""
    options = [signed(reason, visitor), *(["--force"] if force else [])]
    command = ["candidates", "promote", *options, "--", name]
    return acted(parts, request, visitor, "promote candidate", name, reason, command)


@routes.post("/change/reject")
def reject(
    request: Request,
    parts: Parts,
    visitor: Operator,
    name: Annotated[CandidateName, Form()],
    reason: GivenReason,
) -> HTMLResponse:
    """Reject a candidate."""
    command = ["candidates", "reject", signed(reason, visitor), "--", name]
    return acted(parts, request, visitor, "reject candidate", name, reason, command)


def _decisions(history: Sequence[HistoryEntry]) -> list[GateDecision]:
    """The latest decision on each candidate, newest first."""
    latest = {one.record.candidate: one.record for one in history if isinstance(one.record, GateDecision)}
    return sorted(latest.values(), key=lambda decision: -decision.decided_at)
