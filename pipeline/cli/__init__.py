"""The commands: the composition root, which may import every package, and does so lazily."""

from __future__ import annotations

import logging
import sys

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.cli import (
    daemons,
    inspecting,
    items,
    operations,
    policies,
    rebuilding,
    rules,
    setup,
    sources,
    trials,
    users,
    watching,
)
from pipeline.cli.imports import refuse_unused
from pipeline.errors import MillstreamError

app = typer.Typer(
    help="A language-model recommender that keeps learning from an event stream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals may hold keys and user ids
)
for module in (
    *(setup, inspecting, items, users, rules, sources, daemons),
    *(watching, operations, policies, rebuilding, trials),
):
    app.add_typer(module.app)


def main() -> None:
    """Run a command; report a `MillstreamError` in one line, with exit status 1."""
    refuse_unused()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        app()
    except MillstreamError as error:
        line = f"[red]{type(error).__name__}[/]: {escape(str(error))}"
        Console(stderr=True).print(line, highlight=False, soft_wrap=True)
        sys.exit(1)
