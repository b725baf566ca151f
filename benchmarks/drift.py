"""What alarm-triggered retrains are worth when the world changes: drifting shops, and Online Retail.

Three policies live through the same stream in memory: `none` retrains never; `alarm` when the
drift monitor asks for it, with the settings' cooldown; `periodic` as often as `alarm` did,
evenly spread, so that both cost the same. A retrain takes its time as in production: it is
asked for, waits for its window, is trained, validated and compared on what comes after that,
and only then, if the Gate says so, takes the champion's place. The learner learns meanwhile,
and so does the candidate. A rollback that the guard orders is told, not carried out.

`nats_lost` is the log-loss of all targets after the first change, less what they would cost at
the mean of the same shop that does not change; where the new regime is the easier one to
foresee, less is lost than it seems.
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

from benchmarks.retrains import BATCH, TOOK, LearnerHarness, Policy, batches_of, live, new_learner, standing
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
"""Batches at the end that are told of apart."""
SMOOTHED = 12
"""Batches in a running mean of a plot."""

console = Console()

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Stream:
    """What is lived through.

    Attributes:
        kind: of drift, or RETAIL.
        batches: the catalogue, then interactions.
        changes: after how many events another regime began; empty if nobody knows.
        calm: ``[events]`` whether nothing has changed for a cooldown, so that an alarm is false.
    """

    kind: str
    batches: Sequence[MicroBatch]
    changes: Sequence[int]
    calm: NDArray[np.bool_]

    @property
    def judged_from(self) -> int:
        """Batches before the first change, or else before the drift monitor is awake."""
        return self.changes[0] // BATCH if self.changes else -(-WARM_UP // BATCH)


def main(
    kind: Annotated[
        Literal["abrupt", "gradual", "recurring", "seasonal", "retail", "all"], typer.Option(help="Of drift.")
    ] = "all",
    data: Annotated[Path, typer.Option(help="Online Retail.")] = Path("../shared/data/online-retail"),
    seed: Annotated[int, typer.Option(help="Of the shops.")] = 3,
    plots: Annotated[Path | None, typer.Option(help="A folder for plots.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where to write the figures as JSON.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Live through each kind of drift with each policy, on one thread; some minutes a kind."""
    kinds = [*SPANS, RETAIL] if kind == "all" else [kind]
    undrifted: LearnerHarness | None = None
    new = new_learner(cache)
    figures: dict[str, dict[str, Figures]] = {}
    for each in kinds:
        stream = _retail(data) if each == RETAIL else _shop(Drift(each), seed)
        lives = _lives(new, stream)
        if each != RETAIL:
            undrifted = undrifted or _live(new, _shop(Drift.NONE, seed), _never)
        figures[each] = {
            policy: _figures(stream, life, undrifted if stream.changes else None)
            for policy, life in lives.items()
        }
        _show(each, figures[each])
        if plots:
            plots.mkdir(parents=True, exist_ok=True)
            _plot(stream, lives).savefig(plots / f"{each}.png")
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
    """Purchases from summer into autumn, or as far as the data go."""
    start, end = (int(day.timestamp() * 1000) for day in (SUMMER, AUTUMN))
    told = open_dataset(str(data)).events()
    events = [event for event in told if not isinstance(event, Interaction) or start <= event.time < end]
    last = max(event.time for event in events if isinstance(event, Interaction))
    console.print(f"{data}: purchases from {SUMMER:%F} to {datetime.fromtimestamp(last / 1000, UTC):%F}")
    return Stream(RETAIL, batches_of(events), [], np.zeros(0, dtype=np.bool_))


def _lives(new: Learner, stream: Stream) -> dict[str, LearnerHarness]:
    """What became of each policy; `periodic` is given as many retrains as `alarm` asked for."""
    lives = {
        name: _live(new, stream, policy) for name, policy in {"none": _never, "alarm": _at_alarms}.items()
    }
    times = _evenly(len(lives["alarm"].retrains), len(stream.batches) - 1)
    return lives | {"periodic": _live(new, stream, lambda number, _: number in times)}


def _live(new: Learner, stream: Stream, policy: Policy) -> LearnerHarness:
    """Live through a stream with a new learner, and a supervisor that requests retrains."""
    supervisor = Supervisor(DriftConfig(action="retrain"), GuardConfig())
    return live(new.another(), supervisor, stream.batches, policy)


def _never(number: int, told: Sequence[ControlRecord]) -> bool:
    return False


def _at_alarms(number: int, told: Sequence[ControlRecord]) -> bool:
    return any(isinstance(record, RetrainRequest) for record in told)


def _evenly(count: int, batches: int) -> list[int]:
    """After how many batches to ask for a retrain, so that each is in the middle of its share."""
    return [int((place + 0.5) * batches / count - TOOK / 2) for place in range(count)]


def _figures(stream: Stream, life: LearnerHarness, undrifted: LearnerHarness | None) -> Figures:
    """What is told of a policy; `undrifted` is the life of a learner in the same shop without a drift."""
    alarms = [told.events for told in life.told if isinstance(told, DriftAlarm)]
    delays = _delays(stream, alarms)
    calm = int(stream.calm[WARM_UP:].sum())
    false = sum(bool(stream.calm[events - 1]) for events in alarms) if calm else 0
    start = stream.judged_from
    after, end = standing(life.scores[start:]), standing(life.scores[-LAST:])
    level = standing(undrifted.scores[start:])["log_loss"] if undrifted else None
    return {
        "changes": len(stream.changes) or None,
        "found": len(delays) if stream.changes else None,
        "median_delay": median(delays) if delays else None,
        "alarms": len(alarms),
        "calm_events": calm or None,
        "false_per_100k": 1e5 * false / calm if calm else None,
        "retrains": len(life.retrains),
        "promoted": sum(retrained.is_promoted for retrained in life.retrains),
        "rollbacks": sum(isinstance(told, Rollback) for told in life.told),
        "log_loss": after["log_loss"],
        "ndcg@20": after["ndcg@20"],
        "nats_lost": None if level is None else after["n"] * (after["log_loss"] - level),
        "log_loss_at_the_end": end["log_loss"],
        "ndcg@20_at_the_end": end["ndcg@20"],
        "training_seconds": sum(retrained.seconds for retrained in life.retrains),
    }


def _delays(stream: Stream, alarms: Sequence[int]) -> list[int]:
    """From each change to the first alarm after it, if one came before the next change."""
    bounds = [*stream.changes, len(stream.batches) * BATCH]
    return [
        min(heard) - change
        for change, following in itertools.pairwise(bounds)
        if (heard := [events for events in alarms if change < events <= following])
    ]


def _show(kind: str, figures: Mapping[str, Figures]) -> None:
    table = Table("", *figures, title=kind)
    for name in figures["none"]:
        table.add_row(name, *(_cell(told[name]) for told in figures.values()))
    console.print(table)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.4f}"


def _plot(stream: Stream, lives: Mapping[str, LearnerHarness]) -> Figure:
    """The mixture's log-loss under each policy, what changed, and what was promoted."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for name, life in lives.items():
        losses = np.array([standing([scores])["log_loss"] for scores in life.scores])
        smooth = np.convolve(losses, np.ones(SMOOTHED) / SMOOTHED, mode="valid")
        line = axes.plot(BATCH * np.arange(SMOOTHED, len(losses) + 1), smooth, label=name)[0]
        for retrained in life.retrains:
            if retrained.is_promoted:
                axes.axvline(BATCH * (retrained.asked + TOOK), color=line.get_color(), linestyle="--")
    for change in stream.changes:
        axes.axvline(change, color="black", linestyle=":")
    axes.set_title(f"{stream.kind}: dotted where the world changes, dashed where a candidate is promoted")
    axes.set_xlabel("events")
    axes.set_ylabel(f"log-loss of the mixture, mean of {SMOOTHED * BATCH:,} events")
    axes.legend()
    return figure


if __name__ == "__main__":
    typer.run(main)
