"""The command that searches for settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.terminal import (
    DataArgument,
    DatesOption,
    EncodingOption,
    LimitOption,
    MappingOption,
    ReportOption,
    console,
    keep_what_is_read,
    print_drops,
    progress_bar,
    report_file,
    write_file,
    write_report,
)
from pipeline.cli.trials import TABLES
from pipeline.config import load_settings, to_toml
from pipeline.errors import InvalidSettings

app = typer.Typer()
Figure = Literal["log_loss", "hr@20", "mrr@20", "ndcg@20"]


@app.command()
def tune(
    data: DataArgument,
    runs: Annotated[int, typer.Option(min=1, help="Runs, with those that --study has already.")] = 30,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Begin no run after so long.")] = None,
    figure: Annotated[Figure, typer.Option(help="What is to be made better.")] = "mrr@20",
    slice_name: Annotated[str, typer.Option("--slice", help="Of which targets, such as cold.")] = "all",
    write: Annotated[
        Path | None,
        typer.Option(callback=report_file, help="Write the best settings to this file."),
    ] = None,
    study: Annotated[
        Path | None, typer.Option(callback=report_file, help="Keep the runs in this file, and go on from it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search; learn.seed is that of the learners.")] = 0,
    limit: LimitOption = None,
    report: ReportOption = None,
    encoding: EncodingOption = None,
    dates: DatesOption = None,
    mapping: MappingOption = None,
) -> None:
    """Search for settings of learners that predict recorded data better, each tried in a backtest."""
    from pipeline.datasets import open_dataset

    keep_what_is_read([data, mapping], [write, study, report])
    settings = load_settings()
    dataset = open_dataset(data, encoding, dates, mapping)  # before torch is imported, which takes seconds

    try:
        from pipeline.training.tuning import Tuning, configured
    except ImportError:
        raise InvalidSettings("tuning needs optuna: pip install 'millstream[tune]'") from None
    from pipeline.assembly import make_learner
    from pipeline.evaluation.prequential import SLICES
    from pipeline.reports.tuning import tuning_page
    from pipeline.training.backtest import first_events, micro_batches

    if slice_name not in SLICES:
        raise typer.BadParameter(f"there is no slice {slice_name}: use one of {', '.join(SLICES)}")
    batches = list(micro_batches(first_events(dataset.events(), limit), settings.batch.events))
    print_drops(dataset, sum(len(batch.interactions) for batch in batches))
    name = to_toml(settings, TABLES) + f"# {dataset.digest}, {limit} acts, {figure} of {slice_name}"
    tuning = Tuning(make_learner(settings), batches, figure, slice_name, seed, study, name)
    with progress_bar("tuning", total=runs, unit="runs") as progress:
        found = tuning.search(runs, minutes and 60 * minutes, lambda: progress.advance(progress.task_ids[0]))
    console.print(tuning_page(found), soft_wrap=True)
    write_report(report, asdict(found))
    if write is not None:
        learn = configured(settings.learn, found.best.settings)
        write_file(write, to_toml(settings.model_copy(update={"learn": learn}), ("learn",)).encode())
