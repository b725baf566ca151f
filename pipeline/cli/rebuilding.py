"""Rebuild commands: verify recovery, restore an earlier version, audit an answer, audit everything."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from pipeline.cli.terminal import console, log_of_settings, progress_bar

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
        typer.Option("--from", help="Begin at the checkpoint of a version, such as 3-120, not at the start."),
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
    from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
    from pipeline.checkpoints.audit import agreement, version_at
    from pipeline.checkpoints.rebuild import rebuild as run
    from pipeline.errors import TopicError
    from pipeline.snapshots.snapshot import Version
    from pipeline.snapshots.store import SnapshotStore

    with log_of_settings() as (event_log, topics, settings), progress_bar("rebuilding", None) as progress:
        try:
            until = version_at(event_log, topics, at) if at else None
            begin = Version.parse(since) if since else None
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        checkpoints, store = checkpoints_of(settings), SnapshotStore.of(settings.snapshots, topics.prefix)
        learner, supervisor = make_learner(settings), make_supervisor(settings)
        position = run(
            event_log,
            topics,
            learner,
            supervisor,
            checkpoints,
            from_nothing=at is None,
            since=begin,
            until=until,
            progress=lambda n: progress.advance(progress.task_ids[0], n),
        )
    if until is not None and position.version != str(until):
        raise TopicError(f"the journal knows no version {until}, only {position.version} before it")
    found = agreement(learner, supervisor, position, checkpoints, store)
    console.print(str(found), soft_wrap=True)
    raise typer.Exit(int(found.differs))


@app.command()
def audit(
    server: Annotated[
        list[str] | None,
        typer.Option(help="URL of a server to compare with a new one; repeat for several."),
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="How many users the servers are asked about.")] = 20,
    no_rebuild: Annotated[
        bool, typer.Option("--no-rebuild", help="Do not learn the journal again: it takes longest.")
    ] = False,
) -> None:
    """Check log, journal, checkpoints, snapshots and servers against each other; exit status 1 on findings.

    Reads only, and may run beside the daemons.
    """
    for url in server or []:
        if not url.startswith(("http://", "https://")):
            raise typer.BadParameter(f"--server {url}: write http://host:port")
    from consumers.audit.audit import audit as run
    from pipeline.reports.audit import audit_page

    with log_of_settings() as (event_log, topics, settings), progress_bar("rebuilding", None) as progress:
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
    console.print(answers_table(comparison))
    console.print(str(comparison), soft_wrap=True)
    raise typer.Exit(int(not comparison.same_items))
