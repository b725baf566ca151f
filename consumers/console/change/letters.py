"""Dead letters: by reason, the newest ones without their values, and their replay."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from consumers.console.access import Operator, SignedIn
from consumers.console.change.outcome import GivenReason, acted, outcome
from consumers.console.parts import Parts
from pipeline.errors import RefusalReason
from pipeline.reports.dead_letters import counts_by_reason
from pipeline.reports.status_figures import newest_letters

MOST_SHOWN = 50
routes = APIRouter()


@routes.get("/change/letters", name="letters")
def letters_page(request: Request, parts: Parts, visitor: SignedIn) -> HTMLResponse:
    """Show how many records were refused, why, and the newest of them."""
    letters = newest_letters(parts.event_log, parts.topics)
    newest = list(reversed(letters[-MOST_SHOWN:]))
    return parts.pages.page(
        "letters.html", request, visitor, counts=counts_by_reason(letters), newest=newest, total=len(letters)
    )


@routes.post("/change/letters/replay")
def replay(
    request: Request,
    parts: Parts,
    visitor: Operator,
    reason: GivenReason,
    code: Annotated[RefusalReason | None, Form()] = None,
    dry: Annotated[bool, Form()] = False,
) -> HTMLResponse:
    """Send dead letters once more, all or those of one reason; or only say what would happen."""
    command = ["dead-letters", "replay", *([f"--reason={code}"] if code else [])]
    if dry:
        command.append("--dry-run")
        return outcome(parts, request, visitor, parts.actions.look(*command), command)
    subject = str(code) if code else "all"
    return acted(parts, request, visitor, "replay dead letters", subject, reason, command)
