"""Measure the value of alarm-triggered retrains under drift: drifting shops, and Online Retail.

Three policies run on the same stream in memory: `none` never retrains; `alarm` retrains when the
drift monitor requests it, with the settings' cooldown; `periodic` retrains as often as `alarm`
did, evenly spread, so that both cost the same. A retrain takes as many events as in production:
it is requested, waits for its window, is trained, then validated and compared on the events
after the window, and only then replaces the champion, if the Gate promotes it. Learner and
candidate keep learning meanwhile. A rollback that the guard orders is counted, not carried out.

`nats_lost` is the log-loss of all targets after the first change, minus what they would cost at
the mean of the same shop without a change. If the new regime is easier to predict, the figure
understates the loss.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.retrains import (
    BATCH,
    DURATION,
    Policy,
    StreamRun,
    batches_of,
    mean_figures,
    new_learner,
    run_stream,
)
from pipeline.cli.terminal import ReportOption
from pipeline.config import DriftConfig, GuardConfig
from pipeline.control.alarms import DriftAlarm, RetrainRequest
from pipeline.control.records import ControlRecord, Rollback
from pipeline.datasets import Shop, ShopSettings, open_dataset
from pipeline.datasets.shop import Drift
from pipeline.events import Interaction
from pipeline.monitoring.supervisor import Supervisor
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

DRIFT_AT, EVENTS = 40 * BATCH, 160 * BATCH
SPANS = {Drift.ABRUPT: 1, Drift.GRADUAL: DRIFT_AT, Drift.RECURRING: DRIFT_AT, Drift.SEASONAL: 2 * DRIFT_AT}
"""The `drift_span` of each kind of shop."""
RETAIL = "retail"
SUMMER, AUTUMN = (datetime(2011, month, 15, tzinfo=UTC) for month in (7, 10))
COOLDOWN, WARM_UP = DriftConfig().cooldown_events, DriftConfig().warm_up_events
LAST = 16
"""Batches at the end with separate figures."""
SMOOTHED = 12
"""Batches in a running mean of a plot."""

console = Console()

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Stream:
    """A stream to run the policies on.

    Attributes:
        kind: of drift, or RETAIL.
        batches: the catalogue, then interactions.
        changes: numbers of events after which another regime began; empty if unknown.
        calm: ``[events]`` whether there was no change within a cooldown, so that an alarm is false.
    """

    kind: str
    batches: Sequence[MicroBatch]
    changes: Sequence[int]
    calm: NDArray[np.bool_]

    @property
    def judged_from(self) -> int:
        """Batches before the first change, or before the end of the drift monitor's warm-up."""
        return self.changes[0] // BATCH if self.changes else -(-WARM_UP // BATCH)


def main(
    kind: Annotated[
        Literal["abrupt", "gradual", "recurring", "seasonal", "retail", "all"],
        typer.Option(help="Kind of drift."),
    ] = "all",
    data: Annotated[Path, typer.Option(help="Folder of Online Retail.")] = Path(
        "../shared/data/online-retail"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the shops.")] = 3,
    plots: Annotated[Path | None, typer.Option(help="Write plots to this folder.")] = None,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Run each policy on each kind of drift, on one thread; takes some minutes per kind."""
    kinds = [*SPANS, RETAIL] if kind == "all" else [kind]
    undrifted: StreamRun | None = None
    new = new_learner(cache)
    figures: dict[str, dict[str, Figures]] = {}
    for each in kinds:
        stream = _retail(data) if each == RETAIL else _shop(Drift(each), seed)
        runs = _runs(new, stream)
        if each != RETAIL:
            undrifted = undrifted or _run(new, _shop(Drift.NONE, seed), _never)
        figures[each] = {
            policy: _figures(stream, run, undrifted if stream.changes else None)
            for policy, run in runs.items()
        }
        _show(each, figures[each])
        if plots:
            plots.mkdir(parents=True, exist_ok=True)
            _plot(stream, runs).savefig(plots / f"{each}.png")
        if report:
            report.write_text(json.dumps(figures, indent=2) + "\n")


def _shop(drift: Drift, seed: int) -> Stream:
    settings = ShopSettings(
        seed=seed, events=EVENTS, drift=drift, drift_at=DRIFT_AT, drift_span=SPANS.get(drift, 1)
    )
    shares = np.array([settings.drifted(events) for events in range(EVENTS)])
    moved = np.flatnonzero(np.diff(shares)) + 1
    calm = np.ones(EVENTS, dtype=np.bool_)
    for event in moved:
        calm[event : event + COOLDOWN] = False
    changes = moved.tolist() if drift in (Drift.RECURRING, Drift.NONE) else [DRIFT_AT]
    return Stream(drift, batches_of(Shop(settings).events()), changes, calm)


def _retail(data: Path) -> Stream:
    """Purchases from summer to autumn, or to the end of the data."""
    start, end = (int(day.timestamp() * 1000) for day in (SUMMER, AUTUMN))
    recorded = open_dataset(str(data)).events()
    events = [event for event in recorded if not isinstance(event, Interaction) or start <= event.time < end]
    last = max(event.time for event in events if isinstance(event, Interaction))
    console.print(f"{data}: purchases from {SUMMER:%F} to {datetime.fromtimestamp(last / 1000, UTC):%F}")
    return Stream(RETAIL, batches_of(events), [], np.zeros(0, dtype=np.bool_))


def _runs(new: Learner, stream: Stream) -> dict[str, StreamRun]:
    """Run each policy; `periodic` gets as many retrains as `alarm` requested."""
    runs = {name: _run(new, stream, policy) for name, policy in {"none": _never, "alarm": _at_alarms}.items()}
    times = _evenly(len(runs["alarm"].retrains), len(stream.batches) - 1)
    periodic = _run(new, stream, lambda number, _: number in times)
    return runs | {"periodic": periodic}


def _run(new: Learner, stream: Stream, policy: Policy) -> StreamRun:
    """Run a new learner through a stream, with a supervisor that requests retrains."""
    supervisor = Supervisor(DriftConfig(action="retrain"), GuardConfig())
    return run_stream(new.another(), supervisor, stream.batches, policy)


def _never(number: int, records: Sequence[ControlRecord]) -> bool:
    return False


def _at_alarms(number: int, records: Sequence[ControlRecord]) -> bool:
    return any(isinstance(record, RetrainRequest) for record in records)


def _evenly(count: int, batches: int) -> list[int]:
    """Return the batches after which to request retrains, so that each is centred in its share."""
    return [int((share + 0.5) * batches / count - DURATION / 2) for share in range(count)]


def _figures(stream: Stream, run: StreamRun, undrifted: StreamRun | None) -> Figures:
    """Compute the figures of a policy; `undrifted` is the run of a learner on the shop without drift."""
    alarms = [record.events for record in run.records if isinstance(record, DriftAlarm)]
    delays = _delays(stream, alarms)
    calm = int(stream.calm[WARM_UP:].sum())
    false = sum(bool(stream.calm[events - 1]) for events in alarms) if calm else 0
    start = stream.judged_from
    after, end = mean_figures(run.scores[start:]), mean_figures(run.scores[-LAST:])
    level = mean_figures(undrifted.scores[start:])["log_loss"] if undrifted else None
    return {
        "changes": len(stream.changes) or None,
        "found": len(delays) if stream.changes else None,
        "median_delay": median(delays) if delays else None,
        "alarms": len(alarms),
        "calm_events": calm or None,
        "false_per_100k": 1e5 * false / calm if calm else None,
        "retrains": len(run.retrains),
        "promoted": sum(retrain.is_promoted for retrain in run.retrains),
        "rollbacks": sum(isinstance(record, Rollback) for record in run.records),
        "log_loss": after["log_loss"],
        "ndcg@20": after["ndcg@20"],
        "nats_lost": None if level is None else after["n"] * (after["log_loss"] - level),
        "log_loss_at_the_end": end["log_loss"],
        "ndcg@20_at_the_end": end["ndcg@20"],
        "training_seconds": sum(retrain.seconds for retrain in run.retrains),
    }


def _delays(stream: Stream, alarms: Sequence[int]) -> list[int]:
    """Events from each change to the first alarm after it, if it came before the next change."""
    bounds = [*stream.changes, len(stream.batches) * BATCH]
    return [
        min(found) - change
        for change, following in itertools.pairwise(bounds)
        if (found := [events for events in alarms if change < events <= following])
    ]


def _show(kind: str, figures: Mapping[str, Figures]) -> None:
    table = Table("", *figures, title=kind)
    for name in figures["none"]:
        table.add_row(name, *(_cell(by_name[name]) for by_name in figures.values()))
    console.print(table)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.4f}"


def _plot(stream: Stream, runs: Mapping[str, StreamRun]) -> Figure:
    """Plot the mixture's log-loss under each policy, the changes, and the promotions."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for name, run in runs.items():
        losses = np.array([mean_figures([scores])["log_loss"] for scores in run.scores])
        smooth = np.convolve(losses, np.ones(SMOOTHED) / SMOOTHED, mode="valid")
        line = axes.plot(BATCH * np.arange(SMOOTHED, len(losses) + 1), smooth, label=name)[0]
        for retrain in run.retrains:
            if retrain.is_promoted:
                axes.axvline(
                    BATCH * (retrain.requested_at + DURATION), color=line.get_color(), linestyle="--"
                )
    for change in stream.changes:
        axes.axvline(change, color="black", linestyle=":")
    axes.set_title(f"{stream.kind}: dotted line: change of regime; dashed line: promotion")
    axes.set_xlabel("events")
    axes.set_ylabel(f"log-loss of the mixture, mean of {SMOOTHED * BATCH:,} events")
    axes.legend()
    return figure


if __name__ == "__main__":
    typer.run(main)
