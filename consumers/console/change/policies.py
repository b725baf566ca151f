"""Policies and experiments: which is in use, what others would have earned, and their promotion."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from consumers.console.access import Operator, SignedIn
from consumers.console.change.outcome import GivenReason, acted, outcome, signed
from consumers.console.parts import Parts
from pipeline.config.policy import PolicyLabel
from pipeline.control.policies import read_policy_changes

routes = APIRouter()
LOOKS = {"evaluate": ("policy", "evaluate"), "experiment": ("experiment", "report")}
"""Commands that change nothing, and may take a while."""


@routes.get("/change/policies", name="policies")
def policies_page(request: Request, parts: Parts, visitor: SignedIn) -> HTMLResponse:
    """Show the policies of the settings, the one in use, and every change."""
    changes = read_policy_changes(parts.event_log, parts.topics)
    return parts.pages.page(
        "policies.html",
        request,
        visitor,
        policy=parts.settings.policy,
        in_use=changes.in_use,
        changes=list(reversed(changes.all)),
    )


@routes.get("/change/policies/{look}", name="look")
def look(request: Request, parts: Parts, visitor: SignedIn, look: str) -> HTMLResponse:
    """Show what the answers so far say of policies, or of the arms of an experiment."""
    command = LOOKS.get(look, LOOKS["evaluate"])
    return outcome(parts, request, visitor, parts.actions.look(*command), command)


@routes.post("/change/policies/promote")
def promote(
    request: Request,
    parts: Parts,
    visitor: Operator,
    name: Annotated[PolicyLabel, Form()],
    anyway: Annotated[str, Form(max_length=400)] = "",
) -> HTMLResponse:
    """Let servers use a policy if it certainly earns more, or anyway, for a reason."""
    anyway = anyway.strip()
    option = [f"--anyway={visitor.name}: {anyway}"] if anyway else []
    command = ["policy", "promote", *option, "--", name]
    return acted(parts, request, visitor, "promote policy", name, anyway, command)


@routes.post("/change/policies/rollback")
def roll_back(request: Request, parts: Parts, visitor: Operator, reason: GivenReason) -> HTMLResponse:
    """Let servers return to the policy before the latest promotion."""
    command = ["policy", "rollback", signed(reason, visitor)]
    return acted(parts, request, visitor, "roll back policy", "", reason, command)
