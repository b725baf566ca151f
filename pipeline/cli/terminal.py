"""Shared by all commands: terminal, options, and the event log of the settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.config import Settings, load_settings

if TYPE_CHECKING:
    from pipeline.eventlog.port import EventLog
    from pipeline.eventlog.topics import Topics

console = Console()

DataArgument = Annotated[str, typer.Argument(help="A file, a folder, or shop[:seed=7,events=20000].")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Stop after this many interactions.")]
ReportOption = Annotated[Path | None, typer.Option(help="Write the figures to this file as JSON.")]


@contextmanager
def log_of_settings() -> Iterator[tuple[EventLog, Topics, Settings]]:
    """Open the event log of the settings; yield it with its topics and the settings."""
    from pipeline.eventlog import open_log
    from pipeline.eventlog.topics import Topics

    settings = load_settings()
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        yield event_log, Topics(settings.log.prefix), settings


def progress_bar(what: str, total: int | None) -> Progress:
    """Create a progress bar on stderr with one task, counted in events."""
    columns = (
        SpinnerColumn(),
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("events"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    progress.add_task(what, total=total)
    return progress


def write_report(file: Path | None, figures: dict[str, object]) -> None:
    """Write figures as JSON, if there is a file."""
    if file is not None:
        file.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


def now() -> int:
    """The wall clock in ms."""
    return int(time.time() * 1000)
