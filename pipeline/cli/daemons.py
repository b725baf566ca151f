"""The daemons: learner, retrainer and server."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from pipeline.config import load_settings

app = typer.Typer()


def _moment(text: str) -> datetime:
    """A time in ISO 8601; without a zone it is UTC."""
    from pipeline.checkpoints.audit import time_of

    try:
        return time_of(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is no time such as 2026-11-22T09:30") from None


@app.command()
def learn() -> None:
    """Learn from the event log until stopped; publish snapshots."""
    from consumers.learn.daemon import run

    run(load_settings())


@app.command()
def retrain(
    follow: Annotated[bool, typer.Option("--follow", help="Answer requests until stopped.")] = False,
    since: Annotated[
        datetime | None,
        typer.Option(parser=_moment, help="By hand: the window begins at this time (ISO 8601)."),
    ] = None,
) -> None:
    """Make a candidate from the latest part of the log, and have the Gate judge it."""
    from consumers.retrain.daemon import run

    if follow and since:
        raise typer.BadParameter("--follow and --since exclude each other")
    run(load_settings(), follow=follow, since=since)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Instead of serve.host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Instead of serve.port.")] = None,
) -> None:
    """Answer requests for recommendations; hot-load snapshots."""
    from consumers.serve.daemon import run

    settings = load_settings()
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    run(settings.model_copy(update={"serve": settings.serve.model_copy(update=changes)}))
