"""Trial commands: backtest on recorded data, and demo of the whole system on one machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.terminal import (
    DataArgument,
    DatesOption,
    EncodingOption,
    LimitOption,
    MappingOption,
    PageOption,
    ReportOption,
    TrackOption,
    console,
    keep_what_is_read,
    now,
    print_drops,
    progress_bar,
    write_file,
    write_report,
)
from pipeline.config import load_settings, to_toml
from pipeline.wording import counted

if TYPE_CHECKING:
    from pipeline.training.backtest import BacktestReport

app = typer.Typer()
TABLES = ("model", "signals", "learn", "batch", "rewards", "value")
"""The settings that a backtest depends on."""


@app.command()
def backtest(
    data: DataArgument,
    limit: LimitOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides learn.seed.")] = None,
    report: ReportOption = None,
    html: PageOption = None,
    track: TrackOption = None,
    encoding: EncodingOption = None,
    dates: DatesOption = None,
    mapping: MappingOption = None,
) -> None:
    """Run recorded data through the production learner and compare it with its baselines."""
    from pipeline.datasets import open_dataset

    keep_what_is_read([data, mapping], [report, html])
    settings = load_settings(learn={} if seed is None else {"seed": seed})
    dataset = open_dataset(data, encoding, dates, mapping)  # before torch is imported, which takes seconds

    from pipeline.assembly import make_learner
    from pipeline.reports import tracking
    from pipeline.reports.backtest_page import backtest_page
    from pipeline.reports.run_facts import run_facts
    from pipeline.training.backtest import backtest as run

    if track is not None:
        tracking.require_tracking(track)
    learner = make_learner(settings)
    with progress_bar("learning", total=limit) as progress:
        result = run(
            learner,
            dataset,
            limit,
            settings.batch.events,
            lambda n: progress.advance(progress.task_ids[0], n),
            settings.rewards,
            settings.metrics.group,
        )
    print_drops(dataset, result.events)
    _print_tables(result)
    for warning in result.warnings:
        console.print(f"warning: {warning}", soft_wrap=True, markup=False, highlight=False)
    figures = result.to_json()
    speed = figures["events_per_second"]
    console.print(f"{counted(result.events, 'event')} in {result.seconds:.1f} s: {speed} events/s")
    write_report(report, figures)
    about = run_facts(dataset, learner), to_toml(settings, TABLES)
    if html is not None:
        write_file(html, backtest_page(result, *about).encode())
    if track is not None:
        tracking.track(result, track / f"{now()}-{os.getpid()}", *about)


def _print_tables(result: BacktestReport) -> None:
    """Print the figures of a backtest, as far as the data has what they are about."""
    from pipeline.evaluation.regret import regret
    from pipeline.reports.classification import classification_table
    from pipeline.reports.lists import groups_table, lists_table
    from pipeline.reports.modalities import modalities_table
    from pipeline.reports.quality import quality_table, regret_table
    from pipeline.reports.ratings import ratings_table

    console.print(quality_table(result.quality))
    if regret(result.quality):
        console.print(regret_table(result.quality), soft_wrap=True)
    console.print(lists_table(result.lists))
    if result.groups:
        console.print(groups_table(result.groups), soft_wrap=True)
    if result.decisions:
        console.print(classification_table("binary decisions", result.decisions), soft_wrap=True)
    if result.ratings:
        console.print(ratings_table(result.ratings), soft_wrap=True)
    if result.modalities:
        console.print(modalities_table(result.modalities), soft_wrap=True)


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
    keep: Annotated[bool, typer.Option("--keep", help="Go on after the summary, until Ctrl-C.")] = False,
) -> None:
    """Run the whole system on one machine, show its progress, and end with a summary."""
    from pipeline.demo.run import DemoPlan, run

    write_report(report, run(DemoPlan(data, log_url, limit, rate, mapping, keep), console))
