"""Users, and that one is forgotten."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse

from consumers.console.access import Operator, SignedIn
from consumers.console.change.outcome import GivenReason, acted, signed
from consumers.console.parts import Parts
from pipeline.control.actions import pseudonym
from pipeline.events import Id

routes = APIRouter()


@routes.get("/change/forget", name="forget")
def forget_page(
    request: Request, parts: Parts, visitor: SignedIn, user: Annotated[Id, Query()]
) -> HTMLResponse:
    """Ask whether to forget a user, and why."""
    return parts.pages.page("forget.html", request, visitor, user=user)


@routes.post("/change/forget")
def forget(
    request: Request, parts: Parts, visitor: Operator, user: Annotated[Id, Form()], reason: GivenReason
) -> HTMLResponse:
    """Remove a user's attributes and published history."""
    subject = pseudonym(user, parts.settings.console.secret)
    command = ["users", "remove", "--yes", signed(reason, visitor), "--", user]
    return acted(parts, request, visitor, "forget user", subject, reason, command)
