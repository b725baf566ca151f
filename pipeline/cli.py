"""The commands: the composition root, the one file that may import everything, lazily."""

from __future__ import annotations

import logging
import sys
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from producers.play import Pace

console = Console()
app = typer.Typer(
    help="A language-model recommender that keeps learning from an event stream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals may hold keys and user ids
)
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
def rebuild() -> None:
    """Learn the whole journal again, from nothing, and say whether the checkpoints agree."""
    from pipeline.eventlog import open_log
    from pipeline.learning.assembly import checkpoints_of
    from pipeline.learning.rebuild import rebuild as run

    settings = load_settings()
    with (
        closing(open_log(settings.log.url, settings.log.secrets)) as event_log,
        _progress("rebuilding", None) as progress,
    ):
        frozen = run(settings, event_log, lambda n: progress.advance(progress.task_ids[0], n))
    checkpoints = checkpoints_of(settings)
    digest, written = checkpoints.digest(frozen), checkpoints.digests()
    version = f"{frozen.position.generation}-{frozen.position.step}"
    agreed = {None: "no checkpoint of it", digest: "its checkpoint agrees"}.get(
        written.get(version), "its checkpoint DIFFERS"
    )
    console.print(f"{version} {digest}: {agreed}")
    raise typer.Exit(int("DIFFERS" in agreed))


@app.command()
def history() -> None:
    """What the drift monitor has told: alarms, and requests for retrains."""
    from pipeline.eventlog import open_log
    from pipeline.eventlog.topics import Topics
    from pipeline.learning.history import history_table, read_history

    settings = load_settings()
    with closing(open_log(settings.log.url, settings.log.secrets)) as event_log:
        console.print(history_table(read_history(event_log, Topics(settings.log.prefix))))


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
