"""The commands: the composition root, which may import every package, and does so lazily."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

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
    tuning,
    users,
    watching,
)
from pipeline.cli.process import process

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold keys and user ids
)
for module in (
    *(setup, inspecting, items, users, rules, sources, daemons),
    *(watching, operations, policies, rebuilding, trials, tuning),
):
    app.add_typer(module.app)


def _print_version(asks: bool) -> None:
    if asks:
        typer.echo(f"millstream {version('millstream')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
]


@app.callback()
def root(_: VersionOption = False) -> None:
    """A language-model recommender that keeps learning from an event stream."""


def main() -> None:
    """Run a command; report a `MillstreamError` in one line, with exit status 1."""
    with process():
        app()
