"""Daemon commands: learn, retrain, serve, gateway, bridge, media, console."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import tracing
from pipeline.cli.logs import say_start
from pipeline.cli.process import process
from pipeline.cli.terminal import as_version, console, retrain_bar
from pipeline.config import Settings, load_settings
from pipeline.http.sockets import check_free

if TYPE_CHECKING:
    from consumers.serve.workers import Worker
    from pipeline.snapshots.version import Version

app = typer.Typer()
LOCAL = "127.0.0.1"
AcceptRefusedOption = Annotated[
    bool,
    typer.Option("--accept-refused", help="Go on however many records are refused."),
]


def _check_kept(settings: Settings, version: Version) -> None:
    """Look for a snapshot in the store, before torch is loaded, which takes seconds."""
    from pipeline.config.urls import masked
    from pipeline.errors import SnapshotMissing
    from pipeline.snapshots.filesystem import open_model, versions_in

    if version not in versions_in(*open_model(settings.snapshots.store, settings.log.prefix)):
        raise SnapshotMissing(
            f"snapshot {version} is not in the store {masked(settings.snapshots.store)}: name one of those "
            "in there"
        )


def _moment(text: str) -> datetime:
    """Parse a time in ISO 8601; without a zone it is UTC."""
    from pipeline.checkpoints.versions import time_of

    try:
        return time_of(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is not a time such as 2026-11-22T09:30") from None


@app.command()
def learn(
    accept_gap: Annotated[
        bool,
        typer.Option(
            "--accept-gap", help="Go on without records that the log lost before they were learned."
        ),
    ] = False,
    accept_refused: AcceptRefusedOption = False,
) -> None:
    """Learn from the event log and publish snapshots, until stopped."""
    log = {"accept_gap": True} if accept_gap else {}
    settings = load_settings(log=log, refusals={"most_share": 1.0} if accept_refused else {})
    _begin_measured("learn", settings, settings.metrics.learn)
    from consumers.learn.daemon import run

    run(settings)


@app.command()
def retrain(
    follow: Annotated[bool, typer.Option("--follow", help="Answer retrain requests until stopped.")] = False,
    since: Annotated[
        datetime | None,
        typer.Option(parser=_moment, help="Start of the window (ISO 8601), for a retrain by hand."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the learner's first checkpoint, for a retrain by hand.")
    ] = False,
) -> None:
    """Train a candidate on the latest part of the log, and let the Gate judge it."""
    if follow and (since or wait):
        raise typer.BadParameter("--follow and --since exclude each other, and so do --follow and --wait")
    settings = load_settings()
    _begin_measured("retrain", settings, settings.metrics.retrain)
    from consumers.retrain.daemon import run

    with retrain_bar(settings.retrain.training.epochs, hidden=follow) as show:
        run(settings, follow=follow, since=since, wait=wait, show=show)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Overrides serve.host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Overrides serve.port.")] = None,
    at: Annotated[
        str | None,
        typer.Option(
            parser=as_version,
            metavar="VERSION",
            help="Serve this snapshot of the store alone, to this machine, for comparison; write nothing.",
        ),
    ] = None,
) -> None:
    """Answer requests for recommendations; load new snapshots without a restart."""
    if at is not None and host not in (None, LOCAL):
        raise typer.BadParameter(f"--at answers {LOCAL} alone", param_hint="--host")
    settings = load_settings(serve=_address(LOCAL if at is not None else host, port))
    _begin("serve", settings, settings.serve.host, settings.serve.port)
    if at is not None:
        from pipeline.snapshots.version import Version

        version = Version.parse(at)
        _check_kept(settings, version)
        from consumers.serve import daemon

        daemon.run(settings, at=version)
    elif settings.serve.workers > 1:
        from consumers.serve import workers

        workers.run(settings, serve_as_worker)
    else:
        from consumers.serve import daemon

        daemon.run(settings)


def serve_as_worker(settings: Settings, worker: Worker) -> None:
    """What a worker process of `serve` does."""
    with process(worker.number):
        from consumers.serve.daemon import run

        tracing.begin(settings.tracing.share, settings.tracing.endpoint, "serve")
        try:
            run(settings, worker)
        finally:
            tracing.use(None)  # nobody else sends what is left: a child process ends at once


@app.command()
def gateway(
    host: Annotated[str | None, typer.Option(help="Overrides gateway.host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Overrides gateway.port.")] = None,
) -> None:
    """Take in events over HTTP and append them to the event log, until stopped."""
    settings = load_settings(gateway=_address(host, port))
    _begin("gateway", settings, settings.gateway.host, settings.gateway.port)
    from producers.gateway.daemon import run

    run(settings)


@app.command()
def bridge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the newest records would become; write nothing.")
    ] = False,
    accept_gap: Annotated[
        bool,
        typer.Option(
            "--accept-gap", help="Go on without records that the source lost before they were read."
        ),
    ] = False,
    accept_refused: AcceptRefusedOption = False,
) -> None:
    """Append the records of topics made by others to the event log, as a mapping says, until stopped."""
    gap, refusals = {"accept_gap": True}, {"most_share": 1.0}
    settings = load_settings(bridge=gap if accept_gap else {}, refusals=refusals if accept_refused else {})
    if dry_run:
        from pipeline.reports.bridge import dry_run_page
        from producers.bridge.dry_run import run as look

        console.print(dry_run_page(look(settings)), soft_wrap=True)
        return
    _begin("bridge", settings, settings.bridge.host, settings.bridge.port)
    from producers.bridge.daemon import run

    run(settings)


@app.command()
def media(
    retry: Annotated[bool, typer.Option("--retry", help="Fetch media once more that were refused.")] = False,
) -> None:
    """Make vectors of the pictures and sounds of items, until stopped."""
    settings = load_settings()
    _begin_measured("media", settings, settings.metrics.media)
    from consumers.media.daemon import run

    run(settings, retry=retry)


@app.command(name="console")
def operator_console(
    host: Annotated[str | None, typer.Option(help="Overrides console.host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Overrides console.port.")] = None,
) -> None:
    """Show the state of a model in a browser, ask it, and change it, until stopped."""
    settings = load_settings(console=_address(host, port))
    _begin("console", settings, settings.console.host, settings.console.port)
    from consumers.console.daemon import run

    run(settings)


def _begin(daemon: str, settings: Settings, host: str, port: int) -> None:
    """Say what starts, try the port before anything heavy is loaded, and let it trace if it is to.

    Raises:
        InvalidSettings: the port is taken, or not allowed.
    """
    say_start(daemon, settings, host, port)
    check_free(host, port, daemon)
    tracing.begin(settings.tracing.share, settings.tracing.endpoint, daemon)


def _begin_measured(daemon: str, settings: Settings, port: int) -> None:
    """Begin a daemon that answers nothing but its metrics.

    Raises:
        InvalidSettings: the port is taken, or not allowed.
    """
    from pipeline.metrics import check_port

    say_start(daemon, settings, settings.metrics.host, port)
    check_port(settings.metrics.host, port)
    tracing.begin(settings.tracing.share, settings.tracing.endpoint, daemon)


def _address(host: str | None, port: int | None) -> dict[str, object]:
    """Collect the settings that options override."""
    return {name: value for name, value in (("host", host), ("port", port)) if value is not None}
