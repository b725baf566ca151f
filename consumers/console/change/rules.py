"""Business rules: those in force, and a text of others that is tried on the latest requests, then put."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import orjson
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from consumers.console.access import Operator, SignedIn
from consumers.console.change.outcome import GivenReason, acted, outcome
from consumers.console.commands import CommandResult
from consumers.console.parts import Parts
from pipeline.errors import InvalidSettings
from pipeline.rules.files import read_rules
from pipeline.rules.rule import RuleName
from pipeline.rules.store import RuleStore

MOST_SUBJECT = 200
routes = APIRouter()
RulesText = Annotated[str, Form(min_length=1, max_length=1_000_000)]
EXAMPLE = """[[rules]]
name = "summer"
action = "boost"
nats = 0.7  # doubles the odds of each
items = { categories = ["garden"] }
"""


@routes.get("/change/rules", name="rules")
def rules_page(request: Request, parts: Parts, visitor: SignedIn) -> HTMLResponse:
    """Show the rules in force."""
    found = RuleStore(parts.event_log, parts.topics.rules).all()
    options = orjson.OPT_INDENT_2
    texts = {
        name: orjson.dumps(rule.model_dump(mode="json", exclude_defaults=True), option=options).decode()
        for name, rule in found.items()
    }
    return parts.pages.page("rules.html", request, visitor, rules=found, texts=texts, example=EXAMPLE)


@routes.post("/change/rules/try")
def try_rules(request: Request, parts: Parts, visitor: Operator, text: RulesText) -> HTMLResponse:
    """Ask the latest requests again as if the rules were in force, too; change nothing."""
    command = ["rules", "dry-run", "FILE"]
    with _file_of(text) as file:
        fault = _names(file)[1]
        result = fault or parts.actions.look(*command[:-1], str(file))
    return outcome(parts, request, visitor, result, command)


@routes.post("/change/rules/put")
def put_rules(
    request: Request, parts: Parts, visitor: Operator, text: RulesText, reason: GivenReason
) -> HTMLResponse:
    """Put rules in force, or replace those of the same names."""
    command = ["rules", "put", "FILE"]
    with _file_of(text) as file:
        names, fault = _names(file)
        arguments = [*command[:-1], str(file)]
        result = fault or parts.actions.act(visitor.name, "put rules", names, reason, arguments)
    return outcome(parts, request, visitor, result, command)


@routes.post("/change/rules/remove")
def remove_rule(
    request: Request,
    parts: Parts,
    visitor: Operator,
    name: Annotated[RuleName, Form()],
    reason: GivenReason,
) -> HTMLResponse:
    """Remove a rule."""
    command = ["rules", "remove", "--", name]
    return acted(parts, request, visitor, "remove rule", name, reason, command)


@contextmanager
def _file_of(text: str) -> Iterator[Path]:
    """Write rules to a file for as long as it takes: JSON if they begin with a brace, else TOML."""
    with TemporaryDirectory(prefix="millstream-rules-") as folder:
        file = Path(folder) / ("rules.json" if text.lstrip().startswith("{") else "rules.toml")
        file.write_text(text, encoding="utf-8")
        yield file


def _names(file: Path) -> tuple[str, CommandResult | None]:
    """The names of the rules of a file, and what is wrong with them, if anything is."""
    try:
        return ", ".join(rule.name for rule in read_rules(file))[:MOST_SUBJECT], None
    except InvalidSettings as error:
        return "", CommandResult(1, str(error).replace(f"{file.parent}/", ""))
