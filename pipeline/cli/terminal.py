"""Shared by all commands: terminal, options, and the event log of the settings."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
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

from pipeline.config import Settings, load_settings, settings_file
from pipeline.datasets.cells import DateForm
from pipeline.errors import DatasetError, StorageUnavailable

if TYPE_CHECKING:
    from pipeline.datasets import Dataset, Drops
    from pipeline.eventlog.port import EventLog
    from pipeline.eventlog.topics import Topics
    from pipeline.retraining.training import RetrainProgress

console = Console()

DataArgument = Annotated[
    str, typer.Argument(help="A file, a folder, a URL of one, or shop[:seed=7,events=20000].")
]
MappingOption = Annotated[
    Path | None, typer.Option(help="File that says which column is what; `millstream inspect` writes one.")
]


def given(reason: str | None) -> str | None:
    """Check that a reason says something; None if there is none.

    Raises:
        typer.BadParameter: it is blank.
    """
    if reason is not None and not reason.strip():
        raise typer.BadParameter("it is blank: say why, or leave it out")
    return reason


ReasonOption = Annotated[str, typer.Option(help="Reason, shown in the history.", callback=given)]
EncodingOption = Annotated[str | None, typer.Option(help="Encoding of the files, such as cp1252.")]
DatesOption = Annotated[
    DateForm | None, typer.Option(help="Form of dates that could be read in more than one way.")
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Stop after this many interactions.")]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a page.")]


def report_file(file: Path | None) -> Path | None:
    """Refuse, before the work begins, a report that could not be written at its end."""
    if file is None:
        return None
    if not file.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.parent}: make it first")
    if file.is_dir():
        raise typer.BadParameter(f"{file} is a folder: name a file in it")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise typer.BadParameter(f"{file} may not be written: name a file where you may write")
    return file


def keep_what_is_read(read: Iterable[str | Path | None], written: Iterable[Path | None]) -> None:
    """Refuse, before the work begins, to write over what is read, over the settings, or twice into one file.

    Raises:
        typer.BadParameter: names the file.
    """
    taken = {Path(one).resolve() for one in (*read, settings_file()) if one is not None}
    for file in written:
        if file is None:
            continue
        if file.resolve() in taken:
            raise typer.BadParameter(f"{file} is read, or written twice: name another file to write")
        taken.add(file.resolve())


ReportOption = Annotated[
    Path | None, typer.Option(callback=report_file, help="Write the figures to this file as JSON.")
]
TrackOption = Annotated[
    Path | None, typer.Option("--track", help="Add a run to this folder of TensorBoard's.")
]
PageOption = Annotated[
    Path | None,
    typer.Option("--html", callback=report_file, help="Write a page of plots, figures and settings to it."),
]


@contextmanager
def log_of_settings(
    stop: Event | None = None, *, create: bool = False
) -> Iterator[tuple[EventLog, Topics, Settings]]:
    """Open the event log of the settings; yield it with its topics and the settings.

    With `stop`, a log that is away is waited for until `stop` is set.

    Raises:
        LogUnavailable: it is away, and there is no `stop`.
        Stopped: `stop` was set before it could be opened.
    """
    from pipeline.eventlog import open_log
    from pipeline.eventlog.patience import opened
    from pipeline.eventlog.topics import Topics

    settings = load_settings()
    where = settings.log.url, settings.log.secrets
    with opened(*where, stop) if stop else closing(open_log(*where, create=create)) as event_log:
        yield event_log, Topics(settings.log.prefix), settings


def as_version(text: str) -> str:
    """Read the text of a version; the parser of arguments and options that name one."""
    from pipeline.snapshots.version import Version

    try:
        return str(Version.parse(text))
    except ValueError:
        raise typer.BadParameter(f"{text} is not a version such as 3-120") from None


def progress_bar(what: str, total: int | None, unit: str = "events") -> Progress:
    """Create a progress bar on stderr with one task."""
    columns = (
        SpinnerColumn(),
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    progress.add_task(what, total=total)
    return progress


@contextmanager
def retrain_bar(epochs: int, hidden: bool = False) -> Iterator[Callable[[RetrainProgress], None]]:
    """Yield what shows a retrain's progress: a bar on a terminal, and elsewhere nothing."""
    screen = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, disable=hidden or not screen.is_terminal) as bar:
        task = bar.add_task("preparing", total=epochs)

        def show(at: RetrainProgress) -> None:
            text = f"epoch {at.epoch} of at most {epochs}, {at.segments:,} of {at.total:,} segments"
            bar.update(task, description=text, completed=at.epoch - 1 + at.segments / at.total)

        yield show


def print_drops(dataset: Dataset, events: int) -> None:
    """Print what a reader left out, by reason.

    Raises:
        DatasetError: not one event remained.
    """
    print_drop_lines(dataset.drops, events, "an interaction")


def print_drop_lines(drops: Drops, read: int, kind: str) -> None:
    """Print what was left out, by reason; `read` is the number of events of a kind that were not.

    Raises:
        DatasetError: not one event remained.
    """
    for line in drops.lines():
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if not read:
        why = "see the reasons above" if drops.counts else "the data has none"
        raise DatasetError(f"not one row became {kind}: {why}")


def write_report(file: Path | None, figures: dict[str, object]) -> None:
    """Write figures as JSON, if there is a file.

    Raises:
        StorageUnavailable: the file cannot be written.
    """
    if file is not None:
        write_file(file, orjson.dumps(figures, option=orjson.OPT_INDENT_2))


def write_file(file: Path, content: bytes) -> None:
    """Write a report.

    Raises:
        StorageUnavailable: the file cannot be written.
    """
    try:
        file.write_bytes(content)
    except OSError as error:
        raise StorageUnavailable(f"the report cannot be written to {file}: {error}") from error


def folded(text: str) -> str:
    """Return what a text is searched by: without case, each character in its composed form.

    >>> folded("CAFE\u0301") == folded("caf\u00e9")
    True
    """
    return unicodedata.normalize("NFC", text.casefold())
