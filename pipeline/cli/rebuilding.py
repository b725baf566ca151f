"""Rebuilding: the proof of recovery, and time travel."""

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
            help="A version (3-120), a time (2026-11-22T09:30) or an offset of the journal (@1234) "
            "instead of now, from the ladder."
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(help="Ask again what an impression answered, and compare; from the ladder."),
    ] = None,
) -> None:
    """Learn the journal again, and say whether what was written then agrees.

    Without --at or --answer everything is learned from nothing: the proof that recovery is right.
    """
    if at is not None and answer is not None:
        raise typer.BadParameter("--at and --answer exclude each other")
    if answer is not None:
        _ask_again(answer)
    from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
    from pipeline.checkpoints.audit import agreement, version_at
    from pipeline.checkpoints.rebuild import rebuild as run
    from pipeline.snapshots.store import SnapshotStore

    with log_of_settings() as (event_log, topics, settings), progress_bar("rebuilding", None) as progress:
        try:
            until = version_at(event_log, topics, at) if at else None
        except ValueError as error:
            raise typer.BadParameter(f"--at {at}: {error}") from None
        checkpoints = checkpoints_of(settings)
        learner, supervisor = make_learner(settings), make_supervisor(settings)
        position = run(
            event_log,
            topics,
            learner,
            supervisor,
            checkpoints,
            from_nothing=at is None,
            until=until,
            progress=lambda n: progress.advance(progress.task_ids[0], n),
        )
    store = SnapshotStore(settings.snapshots.store, settings.log.prefix)
    found = agreement(learner, supervisor, position, checkpoints, store)
    console.print(str(found), soft_wrap=True)
    raise typer.Exit(int(found.differs))


def _ask_again(impression: str) -> NoReturn:
    from consumers.audit.answers import ask_again
    from pipeline.reports.answers import answers_table

    with log_of_settings() as (event_log, topics, settings), progress_bar("rebuilding", None) as progress:
        found = ask_again(
            event_log,
            topics,
            settings,
            impression,
            lambda n: progress.advance(progress.task_ids[0], n),
        )
    console.print(answers_table(found))
    console.print(str(found), soft_wrap=True)
    raise typer.Exit(int(not found.same_items))
