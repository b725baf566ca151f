"""The commands: the composition root, the one file that may import everything, lazily."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.config import Settings, load_settings, to_toml
from pipeline.errors import MillstreamError

if TYPE_CHECKING:
    from pipeline.datasets import Dataset
    from pipeline.eventlog.port import EventLog
    from pipeline.eventlog.topics import Topics
    from pipeline.learning.candidates import Candidates
    from pipeline.learning.control import ControlRecord
    from producers.play import Pace

console = Console()
app = typer.Typer(
    help="A language-model recommender that keeps learning from an event stream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals may hold keys and user ids
)
candidates_app = typer.Typer(help="What retrains made, and what becomes of it.", no_args_is_help=True)
app.add_typer(candidates_app, name="candidates")
topics_app = typer.Typer(help="The topics of the event log.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")

DataArgument = Annotated[str, typer.Argument(help="A file, a folder, or shop[:seed=7,events=20000].")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Stop after so many interactions.")]
RateOption = Annotated[float | None, typer.Option(min=0.001, help="Interactions a second.")]
SpeedOption = Annotated[float | None, typer.Option(min=0.001, help="So many times as fast as it happened.")]
ReportOption = Annotated[Path | None, typer.Option(help="Write the figures to this file, as JSON.")]


def main() -> None:
    """Run a command; an error of ours becomes one line and exit status 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        app()
    except MillstreamError as error:
        told = f"[red]{type(error).__name__}[/]: {escape(str(error))}"
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def config() -> None:
    """Print the settings as they are: defaults, file and environment together."""
    sys.stdout.write(to_toml(load_settings()))


@topics_app.command("create")
def topics_create() -> None:
    """Create the topics that do not exist yet."""
    settings = load_settings()
    created = _create_topics(settings)
    console.print("\n".join(created) if created else "all topics exist")


@topics_app.command("check")
def topics_check() -> None:
    """Compare the topics with the settings; exit status 1 if they differ."""
    from pipeline.eventlog import open_log
    from pipeline.eventlog.topics import Topics

    settings = load_settings()
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        Topics(settings.log.prefix).check(event_log, *settings.log.topic_sizes)
    console.print("all topics are as they should be")


@app.command()
def backtest(
    data: DataArgument,
    limit: LimitOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of learn.seed.")] = None,
    report: ReportOption = None,
) -> None:
    """Play recorded data through the production learner and compare it with its baselines."""
    from pipeline.datasets import open_dataset
    from pipeline.learning.assembly import make_learner
    from pipeline.learning.backtest import backtest as run
    from pipeline.learning.tables import quality_table

    settings = load_settings()
    if seed is not None:
        learn = settings.learn.model_copy(update={"seed": seed})
        settings = settings.model_copy(update={"learn": learn})
    dataset = open_dataset(data)
    learner = make_learner(settings)
    with _progress("learning", total=limit) as progress:
        result = run(
            learner,
            dataset,
            limit,
            settings.learn.batch_events,
            lambda n: progress.advance(progress.task_ids[0], n),
        )
    console.print(quality_table(result.quality))
    told = result.to_json()
    console.print(f"{result.events:,} events in {result.seconds:.1f} s: {told['events_per_second']} events/s")
    _write_report(report, told)


@app.command()
def learn() -> None:
    """Learn from the event log until stopped; publish snapshots."""
    from consumers.learn import run

    run(load_settings())


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
    from pipeline.learning.assembly import checkpoints_of, make_learner
    from pipeline.learning.rebuild import rebuild as run
    from pipeline.learning.time_travel import agreement, version_at
    from pipeline.snapshots.store import SnapshotStore

    with _log() as (event_log, topics, settings), _progress("rebuilding", None) as progress:
        try:
            until = version_at(event_log, topics, at) if at else None
        except ValueError as error:
            raise typer.BadParameter(f"--at {at}: {error}") from None
        checkpoints, learner = checkpoints_of(settings), make_learner(settings)
        position = run(
            event_log,
            topics,
            learner,
            checkpoints,
            from_nothing=at is None,
            until=until,
            progress=lambda n: progress.advance(progress.task_ids[0], n),
        )
    found = agreement(learner, position, checkpoints, SnapshotStore(settings.snapshots, settings.log.prefix))
    console.print(str(found), soft_wrap=True)
    raise typer.Exit(int(found.differs))


@app.command()
def history() -> None:
    """What was told: alarms, requests, judgements with their costs, promotions, rollbacks."""
    from pipeline.learning.history import history_table, read_history

    with _log() as (event_log, topics, _):
        console.print(history_table(read_history(event_log, topics)))


@app.command()
def retrain(
    follow: Annotated[bool, typer.Option("--follow", help="Answer requests until stopped.")] = False,
    since: Annotated[
        datetime | None,
        typer.Option(parser=_moment, help="By hand: the window begins at this time (ISO 8601)."),
    ] = None,
) -> None:
    """Make a candidate from the latest part of the log, and have the Gate judge it."""
    from consumers.retrain import run

    if follow and since:
        raise typer.BadParameter("--follow and --since exclude each other")
    run(load_settings(), follow=follow, since=since)


@app.command()
def rollback(
    version: Annotated[
        str,
        typer.Argument(
            parser=_version,
            metavar="VERSION",
            help="What to return to, as 3-120; see `millstream history`.",
        ),
    ],
    relearn: Annotated[
        bool, typer.Option("--relearn", help="Learn again what came since, instead of only folding it.")
    ] = False,
    reason: Annotated[str, typer.Option(help="For the history.")] = "by hand",
) -> None:
    """Order learner and servers back to an earlier version."""
    from pipeline.learning.control import Rollback

    _order(Rollback(version=version, relearn=relearn, generation=None, ordered_at=_now(), reason=reason))


@candidates_app.command("list")
def list_candidates() -> None:
    """All candidates that are kept, oldest first."""
    from pipeline.learning.candidates import candidates_table

    console.print(candidates_table(_candidates().all()))


@candidates_app.command("show")
def show_candidate(name: str) -> None:
    """Plan, verdict, reasons, figures and cost of a candidate, as JSON."""
    candidate = _candidates().named(name)
    plan, judgement = candidate.plan(), candidate.judgement()
    told = {"plan": plan.model_dump(), "judgement": judgement.model_dump() if judgement else None}
    console.print_json(orjson.dumps(told).decode())


@candidates_app.command("promote")
def promote_candidate(
    name: str,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it was compared with another champion.")
    ] = False,
    reason: Annotated[str, typer.Option(help="For the history.")] = "by hand",
) -> None:
    """Order the learner to adopt a candidate, whatever the Gate said."""
    from pipeline.learning.control import Promotion

    judged = _candidates().named(name).judged()
    generation = None if force else judged.generation
    _order(Promotion(candidate=name, generation=generation, ordered_at=_now(), reason=reason))


@candidates_app.command("reject")
def reject_candidate(
    name: str, reason: Annotated[str, typer.Option(help="For the history.")] = "by hand"
) -> None:
    """Say that a candidate is not wanted."""
    candidate = _candidates().named(name)
    changes = {"outcome": "rejected", "reasons": [reason], "judged_at": _now()}
    judgement = candidate.judged().model_copy(update=changes)
    candidate.judge(judgement)
    _order(judgement)


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


@app.command()
def play(
    data: DataArgument,
    rate: RateOption = None,
    speed: SpeedOption = None,
    limit: LimitOption = None,
) -> None:
    """Play a data set into the event log; flat out unless --rate or --speed is given."""
    from pipeline.datasets import open_dataset

    _play(open_dataset(data), rate, speed, limit)


@app.command()
def simulate(
    rate: RateOption = None,
    speed: SpeedOption = None,
    events: Annotated[int | None, typer.Option(min=1, help="Endless if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Let the simulated shop's users act, into the event log."""
    from pipeline.datasets import Shop, ShopSettings

    # Flat out, simulated time is faster than ours; it must not overtake the clock of the log.
    shop = Shop(ShopSettings(seed=seed, events=events, opening=date(2000, 1, 1)))
    _play(shop, rate, speed, events)


@app.command()
def demo(
    data: DataArgument = "shop",
    log_url: Annotated[
        str | None, typer.Option("--log", help="Instead of an embedded log: kafka://host:port")
    ] = None,
    limit: Annotated[int, typer.Option(min=1_000, help="Interactions to play.")] = 15_000,
    rate: Annotated[float, typer.Option(min=1, help="Interactions a second.")] = 250,
    report: ReportOption = None,
) -> None:
    """Run everything on one machine and watch it learn; ends by itself with a summary."""
    from pipeline.demo.run import DemoPlan, run

    _write_report(report, run(DemoPlan(data, log_url, limit, rate), console))


@contextmanager
def _log() -> Iterator[tuple[EventLog, Topics, Settings]]:
    from pipeline.eventlog import open_log
    from pipeline.eventlog.topics import Topics

    settings = load_settings()
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        yield event_log, Topics(settings.log.prefix), settings


def _ask_again(impression: str) -> NoReturn:
    from consumers.serve.again import ask_again

    with _log() as (event_log, topics, settings), _progress("rebuilding", None) as progress:
        found = ask_again(
            event_log,
            topics,
            settings,
            impression,
            lambda n: progress.advance(progress.task_ids[0], n),
        )
    console.print(found.table())
    console.print(str(found), soft_wrap=True)
    raise typer.Exit(int(not found.same_items))


def _order(record: ControlRecord) -> None:
    with _log() as (event_log, topics, _), event_log.writer() as writer:
        writer.append(topics.control, record.key, record.encode())
        writer.flush()
    console.print(f"told: {record.key}", soft_wrap=True)


def _candidates() -> Candidates:
    from pipeline.learning.assembly import checkpoints_of
    from pipeline.learning.candidates import Candidates

    return Candidates(checkpoints_of(load_settings()).folder)


def _version(text: str) -> str:
    if not re.fullmatch(r"\d+-\d+", text):
        raise typer.BadParameter(f"{text} is no version such as 3-120")
    return text


def _moment(text: str) -> datetime:
    """A time in ISO 8601; without a zone it is UTC."""
    from pipeline.learning.time_travel import time_of

    try:
        return time_of(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is no time such as 2026-11-22T09:30") from None


def _now() -> int:
    """Wall clock in ms."""
    return int(time.time() * 1000)


def _play(dataset: Dataset, rate: float | None, speed: float | None, limit: int | None) -> None:
    from pipeline import metrics
    from pipeline.eventlog import open_log
    from pipeline.eventlog.topics import Topics
    from pipeline.stopping import stop_requested
    from producers.play import play as run

    settings = load_settings()
    topics = Topics(settings.log.prefix)
    metrics.serve_metrics(settings.metrics_host, settings.play.metrics_port)
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        topics.check(event_log, *settings.log.topic_sizes)
        with (
            event_log.writer(max_in_flight=settings.play.max_in_flight) as writer,
            _progress("playing", limit) as progress,
        ):
            run(
                dataset,
                writer,
                topics,
                _pace(rate, speed),
                limit,
                lambda n: progress.advance(progress.task_ids[0], n),
                stop_requested().is_set,
            )


def _pace(rate: float | None, speed: float | None) -> Pace:
    from producers.play import RealTime, at_rate, flat_out

    if rate is not None and speed is not None:
        raise typer.BadParameter("--rate and --speed exclude each other")
    if rate is not None:
        return at_rate(rate)
    return RealTime(speed) if speed is not None else flat_out


def _create_topics(settings: Settings) -> list[str]:
    from pipeline.eventlog import open_log
    from pipeline.eventlog.topics import Topics

    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        return Topics(settings.log.prefix).create(event_log, *settings.log.topic_sizes)


def _progress(what: str, total: int | None) -> Progress:
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


def _write_report(file: Path | None, told: dict[str, object]) -> None:
    if file is not None:
        file.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
