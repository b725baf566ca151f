"""Users, and that one is forgotten."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse

from consumers.console.access import Operator, SignedIn
from consumers.console.change.outcome import GivenReason, acted
from consumers.console.parts import Parts
from pipeline.events import Id

DIGEST_DIGITS = 12
"""Of a user's id in the history, which outlives what is forgotten."""

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
    digest = sha256(user.encode()).hexdigest()[:DIGEST_DIGITS]
    command = ["users", "remove", "--yes", "--", user]
    return acted(parts, request, visitor, "forget user", f"sha256:{digest}", reason, command)
