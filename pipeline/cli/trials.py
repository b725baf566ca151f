"""Trial commands: backtest on recorded data, and demo of the whole system on one machine."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.terminal import (
    DataArgument,
    DatesOption,
    EncodingOption,
    LimitOption,
    MappingOption,
    ReportOption,
    console,
    print_drops,
    progress_bar,
    write_report,
)
from pipeline.config import load_settings

app = typer.Typer()


@app.command()
def backtest(
    data: DataArgument,
    limit: LimitOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides learn.seed.")] = None,
    report: ReportOption = None,
    encoding: EncodingOption = None,
    dates: DatesOption = None,
    mapping: MappingOption = None,
) -> None:
    """Run recorded data through the production learner and compare it with its baselines."""
    from pipeline.assembly import make_learner
    from pipeline.datasets import open_dataset
    from pipeline.reports.quality import quality_table
    from pipeline.training.backtest import backtest as run

    settings = load_settings(learn={} if seed is None else {"seed": seed})
    dataset = open_dataset(data, encoding, dates, mapping)
    learner = make_learner(settings)
    with progress_bar("learning", total=limit) as progress:
        result = run(
            learner,
            dataset,
            limit,
            settings.batch.events,
            lambda n: progress.advance(progress.task_ids[0], n),
        )
    print_drops(dataset, result.events)
    console.print(quality_table(result.quality))
    figures = result.to_json()
    speed = figures["events_per_second"]
    console.print(f"{result.events:,} events in {result.seconds:.1f} s: {speed} events/s")
    write_report(report, figures)


@app.command()
def demo(
    data: DataArgument = "shop",
    log_url: Annotated[
        str | None, typer.Option("--log", help="Log to use instead of an embedded one: kafka://host:port")
    ] = None,
    limit: Annotated[int, typer.Option(min=1_000, help="Interactions to play.")] = 15_000,
    rate: Annotated[float, typer.Option(min=1, help="Interactions per second.")] = 250,
    report: ReportOption = None,
    mapping: MappingOption = None,
) -> None:
    """Run the whole system on one machine, show its progress, and end with a summary."""
    from pipeline.demo.run import DemoPlan, run

    write_report(report, run(DemoPlan(data, log_url, limit, rate, mapping), console))
