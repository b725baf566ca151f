"""Rebuild commands: verify recovery, restore an earlier version, audit an answer, audit everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn
from urllib.parse import urlsplit

import typer

from pipeline.cli.terminal import as_version, console, log_of_settings, progress_bar

if TYPE_CHECKING:
    from pipeline.checkpoints.audit import Agreement
    from pipeline.config import Settings
    from pipeline.eventlog.port import EventLog
    from pipeline.eventlog.topics import Topics
    from pipeline.snapshots.version import Version

app = typer.Typer()


@app.command()
def rebuild(
    at: Annotated[
        str | None,
        typer.Option(
            help="Rebuild from the nearest checkpoint to a version (3-120), a time (2026-11-22T09:30) or an "
            "offset of the journal (@1234)."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            parser=as_version,
            metavar="VERSION",
            help="Begin at the checkpoint of a version, such as 3-120, not at the start.",
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            help="Rebuild from the nearest checkpoint, reproduce the answer of this impression, and compare."
        ),
    ] = None,
) -> None:
    """Learn the journal again, and compare the result with the stored checkpoints and snapshots.

    Without an option, learn everything from the start: this verifies recovery.
    """
    if sum(option is not None for option in (at, since, answer)) > 1:
        raise typer.BadParameter("--at, --from and --answer exclude each other")
    if answer is not None:
        _compare_answer(answer)
    with log_of_settings() as (event_log, topics, settings):
        until = _known_at(event_log, topics, settings, at) if at is not None else None
        found = _rebuilt(event_log, topics, settings, since, until)
    console.print(str(found), soft_wrap=True)
    raise typer.Exit(int(found.differs))


def _known_at(event_log: EventLog, topics: Topics, settings: Settings, moment: str) -> Version:
    """Return the version that a moment names; refuse an unknown one before torch is loaded."""
    from pipeline.checkpoints.listing import folder_of
    from pipeline.checkpoints.versions import check_known, version_at

    try:
        version = version_at(event_log, topics, moment)
    except ValueError:
        raise typer.BadParameter(
            f"{moment} is no version such as 3-120, time such as 2026-11-22T09:30 or offset such as @1234"
        ) from None
    check_known(event_log, topics, folder_of(settings), version)
    return version


def _rebuilt(
    event_log: EventLog, topics: Topics, settings: Settings, since: str | None, until: Version | None
) -> Agreement:
    """Learn the journal again, from a checkpoint where a version is named, and compare."""
    from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
    from pipeline.checkpoints.audit import agreement
    from pipeline.checkpoints.rebuild import rebuild as run
    from pipeline.snapshots.store import SnapshotStore
    from pipeline.snapshots.version import Version

    checkpoints, store = checkpoints_of(settings), SnapshotStore.of(settings.snapshots, topics.prefix)
    learner, supervisor = make_learner(settings), make_supervisor(settings)
    with progress_bar("rebuilding", None) as progress:
        position = run(
            event_log,
            topics,
            learner,
            supervisor,
            checkpoints,
            from_nothing=until is None,
            since=Version.parse(since) if since else None,
            until=until,
            progress=lambda n: progress.advance(progress.task_ids[0], n),
        )
    return agreement(learner, supervisor, position, checkpoints, store)


def _server_url(text: str) -> str:
    try:
        url = urlsplit(text)
        if url.scheme in ("http", "https") and url.hostname and url.port != 0:
            return text
    except ValueError:  # of its brackets or its port
        pass
    raise typer.BadParameter(f"{text}: write http://host:port")


@app.command()
def audit(
    server: Annotated[
        list[str] | None,
        typer.Option(
            parser=_server_url,
            metavar="URL",
            help="URL of a server to compare with a new one; repeat for several.",
        ),
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="How many users the servers are asked about.")] = 20,
    no_rebuild: Annotated[
        bool, typer.Option("--no-rebuild", help="Do not learn the journal again: it takes longest.")
    ] = False,
) -> None:
    """Check log, journal, checkpoints, snapshots and servers against each other; exit status 1 on findings.

    Reads only, and may run beside the daemons.
    """
    from consumers.audit.audit import audit as run
    from pipeline.reports.audit import audit_page

    what = "reading" if no_rebuild else "rebuilding"
    with log_of_settings() as (event_log, topics, settings), progress_bar(what, None) as progress:
        checks = run(
            event_log,
            topics,
            settings,
            servers=server or [],
            users=users,
            rebuilds=not no_rebuild,
            progress=lambda n: progress.advance(progress.task_ids[0], n),
        )
    console.print(audit_page(checks), soft_wrap=True)
    raise typer.Exit(int(any(check.findings for check in checks)))


def _compare_answer(impression: str) -> NoReturn:
    from consumers.audit.answers import reproduce_answer
    from pipeline.reports.answers import answers_table

    with log_of_settings() as (event_log, topics, settings), progress_bar("rebuilding", None) as progress:
        comparison = reproduce_answer(
            event_log,
            topics,
            settings,
            impression,
            lambda n: progress.advance(progress.task_ids[0], n),
        )
    console.print(answers_table(comparison), soft_wrap=True)
    console.print(str(comparison), soft_wrap=True)
    raise typer.Exit(int(not comparison.same_items))
