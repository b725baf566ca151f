"""Source commands: play recorded data or the simulated shop into the event log."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.terminal import (
    DataArgument,
    DatesOption,
    EncodingOption,
    LimitOption,
    MappingOption,
    console,
    log_of_settings,
    now,
    print_drops,
    progress_bar,
)

if TYPE_CHECKING:
    from pipeline.datasets import Dataset
    from pipeline.events import Interaction
    from producers.play import Pace

app = typer.Typer()
RateOption = Annotated[float | None, typer.Option(min=0.001, help="Interactions per second.")]
SpeedOption = Annotated[float | None, typer.Option(min=0.001, help="Speed relative to the recorded times.")]


@app.command()
def play(
    data: DataArgument,
    rate: RateOption = None,
    speed: SpeedOption = None,
    limit: LimitOption = None,
    encoding: EncodingOption = None,
    dates: DatesOption = None,
    mapping: MappingOption = None,
) -> None:
    """Play a data set into the event log; at full speed without --rate or --speed."""
    from pipeline.datasets import open_dataset

    _play(open_dataset(data, encoding, dates, mapping), rate, speed, limit)


@app.command()
def simulate(
    rate: RateOption = None,
    speed: SpeedOption = None,
    events: Annotated[
        int | None, typer.Option(min=1, help="Number of interactions; endless without it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Play a simulated shop into the event log."""
    from pipeline.datasets import Shop, ShopSettings

    # At full speed simulated time runs faster than the log's clock, and must not overtake it.
    shop = Shop(ShopSettings(seed=seed, events=events, opening=date(2000, 1, 1)))
    _play(shop, rate, speed, events)


def _play(dataset: Dataset, rate: float | None, speed: float | None, limit: int | None) -> None:
    from pipeline import metrics
    from pipeline.datasets.busiest_users import BusiestUsers
    from pipeline.eventlog.patience import patiently
    from pipeline.eventlog.patient_writer import PatientWriter
    from pipeline.events import MAX_TIME_AHEAD_MS
    from pipeline.ratings.scale import PositiveActs
    from pipeline.signals import Stopped, stop_requested
    from producers.play import play as run

    pace, stop, ahead = _pace(rate, speed), stop_requested(), 0
    try:
        with log_of_settings(stop) as (event_log, topics, settings):
            metrics.serve_metrics(settings.metrics.host, settings.metrics.play, settings.serve.reading_keys)
            positive, busiest = PositiveActs(settings.signals), BusiestUsers()

            def watch(event: Interaction) -> None:
                nonlocal ahead
                positive.add([event])
                busiest.add([event])
                ahead += event.time > now() + MAX_TIME_AHEAD_MS

            patiently(
                lambda: topics.check(event_log, *settings.log.topic_sizes), stop, event_log, is_start=True
            )
            with (
                PatientWriter(event_log, stop, settings.play.max_in_flight) as writer,
                progress_bar("playing", limit) as progress,
            ):
                events = run(
                    dataset,
                    writer,
                    topics,
                    pace,
                    limit,
                    lambda n: progress.advance(progress.task_ids[0], n),
                    stop.is_set,
                    watch,
                )
    except Stopped:
        return
    if not stop.is_set():
        print_drops(dataset, events)
        for warning in positive.warning(), busiest.warning(), _ahead(ahead, events):
            if warning:
                console.print(f"warning: {warning}", soft_wrap=True, markup=False, highlight=False)


def _ahead(acts: int, events: int) -> str | None:
    """Say that acts are in the future, which nobody learns; None if there are none."""
    if not acts:
        return None
    return (
        f"the times of {acts:,} of {events:,} acts are more than 5 minutes ahead of this clock, so they are "
        "refused (time_ahead), and not learned: correct their times, or the format and zone in [time]"
    )


def _pace(rate: float | None, speed: float | None) -> Pace:
    from producers.play import RealTime, at_rate, flat_out

    if rate is not None and speed is not None:
        raise typer.BadParameter("--rate and --speed exclude each other")
    if rate is not None:
        return at_rate(rate)
    return RealTime(speed) if speed is not None else flat_out
