"""What became of an action, as a part of the page that asked, or as a page of its own without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import join
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator, StringConstraints

from consumers.console.access import Visitor
from consumers.console.commands import CommandResult
from consumers.console.pages import is_fragment
from consumers.console.parts import ConsoleParts
from pipeline.bounded import mended
from pipeline.control.actions import ActionName

GivenReason = Annotated[
    str,
    Form(min_length=1, max_length=400),
    StringConstraints(strip_whitespace=True, min_length=1),
    BeforeValidator(mended),
]
"""Spaces alone are none."""


def signed(reason: str, visitor: Visitor) -> str:
    """Return the option that gives a reason, with who gave it."""
    return f"--reason={visitor.name}: {reason}"


def outcome(
    parts: ConsoleParts, request: Request, visitor: Visitor, result: CommandResult, command: Sequence[str]
) -> HTMLResponse:
    """Show what a command said, and how it would be typed."""
    template = "outcome.html" if is_fragment(request) else "outcome_page.html"
    return parts.pages.page(template, request, visitor, result=result, command=join(["millstream", *command]))


def acted(
    parts: ConsoleParts,
    request: Request,
    visitor: Visitor,
    action: ActionName,
    subject: str,
    reason: str,
    command: Sequence[str],
) -> HTMLResponse:
    """Carry out what a visitor asks for by a command, and show what became of it."""
    result = parts.actions.act(visitor.name, action, subject, reason, command)
    return outcome(parts, request, visitor, result, command)
