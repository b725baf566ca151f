"""Measure what a learner still knows of earlier periods after it has learned later ones.

A stream is cut into periods: the regimes of a simulated shop that leave and return, or the weeks of
session files such as DIGINETICA. A user's acts in a period are a session, and a tenth of the sessions
is held out. After each period the state stands still, and the held-out sessions of all periods so far
are scored. Learners that replay more or less stand beside joint training: the default learner on the
sessions of all periods in random order, which forgets nothing.

All learn whole sessions one after another, so that they differ in the order of the periods alone. The
catalogue is known from the start, so that every period is ranked among as many items. Backward
transfer is the quality on a period after the last one less that right after it was learned, forward
transfer that right before it was learned less that of a learner that has learned nothing; means over
periods (Lopez-Paz & Ranzato 2017). `regime` is backward transfer to the first period from the second
alone, in which a shop's regime is another. Log-losses are negated: more is always better.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, count, product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.diginetica import period_of, whole_sessions
from benchmarks.forgetting import RECURRING
from benchmarks.retrains import learn_all, new_learner, numbered
from pipeline.cli.terminal import ReportOption
from pipeline.config import LearnerConfig, ReplayConfig
from pipeline.datasets import open_dataset
from pipeline.evaluation.prequential import Quality
from pipeline.events import Interaction, Item
from pipeline.model.device import use_device
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

DEFAULT = ReplayConfig().segments
HELD_OUT = 0.1
SCORERS, NAMES = ("model", "mixture"), ("hr@20", "mrr@20", "log_loss")
FIGURES = tuple(f"{scorer} {name}" for scorer, name in product(SCORERS, NAMES))
SIGNS = np.array([1.0, 1.0, -1.0] * len(SCORERS))
JOINT = "joint"

Session = list[Interaction]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Period:
    """The sessions of a period, in order of their first acts: those that are learned, and those held out."""

    learned: list[Session]
    held_out: list[Session]


@dataclass(frozen=True)
class Stream:
    """Periods in order of time, and the catalogue of all."""

    items: list[Item]
    periods: list[Period]


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of the period_*.txt.gz of DIGINETICA.")] = None,
    periods: Annotated[int, typer.Option(help="Number of periods.")] = 6,
    share: Annotated[float, typer.Option(help="Share of the sessions of files, chosen by hash.")] = 0.25,
    span: Annotated[int, typer.Option(help="Acts in a period of the shop.")] = 8_000,
    replay: Annotated[list[int], typer.Option(help="Replayed Segments per batch.")] = [DEFAULT, 0],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Number of seeds, of data and learner.")] = 3,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Learn the shop, or DIGINETICA, in each way, on one thread."""
    use_device("cpu", threads=1)
    found: dict[str, list[dict[str, Floats]]] = {name: [] for name in [*map(str, replay), JOINT]}
    for seed in range(seeds):
        stream = files_stream(data, periods, share, seed) if data else shop_stream(periods, span, seed)
        for amount in track(replay, f"seed {seed}"):
            found[str(amount)].append(transfer(new_learner(cache, config_of(amount, seed)), stream))
        found[JOINT].append(joint(new_learner(cache, config_of(DEFAULT, seed)), stream, seed))
    if report:
        report.write_text(json.dumps({"figures": FIGURES, "by_seed": found}, default=_listed) + "\n")
    _show(found)


def config_of(replay: int, seed: int) -> LearnerConfig:
    """Return the settings of a learner that replays so many Segments with each batch."""
    return LearnerConfig(seed=seed, replay=ReplayConfig(segments=replay))


def shop_stream(periods: int, span: int, seed: int) -> Stream:
    """The simulated shop: the old regime, the new one, the old one again, and so on."""
    source = RECURRING.format(seed=seed, end=periods * span, at=span, span=span)
    events = list(open_dataset(source).events())
    acts = [event for event in events if isinstance(event, Interaction)]
    cut = [_renamed(number, acts[number * span : (number + 1) * span]) for number in range(periods)]
    return Stream([event for event in events if isinstance(event, Item)], [_period(own, seed) for own in cut])


def files_stream(folder: Path, periods: int, share: float, seed: int) -> Stream:
    """The first session files of a folder, each a period; a share of their sessions."""
    kept = []
    for number in range(periods):
        acts = period_of(folder, number)
        kept.append([act for act in acts if _fraction(f"{seed} {act.user}") < share])
    items = {act.item: Item(item=act.item, title="") for act in chain.from_iterable(kept)}
    return Stream(list(items.values()), [_period(acts, seed) for acts in kept])


def _renamed(number: int, acts: Iterable[Interaction]) -> list[Interaction]:
    """Make the users of a period users of its own."""
    return [act.model_copy(update={"user": f"{number}-{act.user}"}) for act in acts]


def _period(acts: Iterable[Interaction], seed: int) -> Period:
    by_user: dict[str, Session] = defaultdict(list)
    for act in acts:
        by_user[act.user].append(act)
    parts: tuple[list[Session], list[Session]] = [], []
    for user, session in by_user.items():
        parts[_fraction(f"held out {seed} {user}") < HELD_OUT].append(session)
    return Period(*parts)


def _fraction(text: str) -> float:
    """A number from 0 to 1 that follows from a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / 2**64


def transfer(learner: Learner, stream: Stream) -> dict[str, Floats]:
    """Learn period after period; return the quality after each, and what was transferred."""
    steps = _known_items(learner, stream)
    before = _tested(learner, stream.periods)
    after = []
    for number, period in enumerate(stream.periods):
        learn_all(learner, numbered([*chain.from_iterable(period.learned)], steps))
        after.append(_tested(learner, stream.periods[: number + 2]))
    last, n = after[-1], len(after)
    soon, ahead = ([after[at + less][at] for at in range(-less, n)] for less in (0, -1))
    return {
        "at the end": last.mean(axis=0),
        "backward": (last - soon)[:-1].mean(axis=0),
        "forward": (ahead - before[1:]).mean(axis=0),
        "regime": after[1][0] - after[0][0],
        "by period": last,
    }


def joint(learner: Learner, stream: Stream, seed: int) -> dict[str, Floats]:
    """Learn the sessions of all periods in random order; return the quality."""
    steps = _known_items(learner, stream)
    sessions = [session for period in stream.periods for session in period.learned]
    order = np.random.default_rng(seed).permutation(len(sessions))
    learn_all(learner, numbered([act for index in order for act in sessions[index]], steps))
    last = _tested(learner, stream.periods)
    return {"at the end": last.mean(axis=0), "by period": last}


def _known_items(learner: Learner, stream: Stream) -> Iterator[int]:
    """Let a learner know all items; return the numbers of the steps that follow."""
    steps = count()
    learner.score_and_learn(MicroBatch(0, next(steps), stream.items, []))
    return steps


def _tested(learner: Learner, periods: Sequence[Period]) -> Floats:
    """Score the held-out sessions of n periods: `FIGURES` ``[n, 6]``, more is better."""
    figures = []
    for period in periods:
        quality = Quality()
        for batch in whole_sessions(chain.from_iterable(period.held_out), count()):
            quality.add(learner.score(batch))
        means = quality.report()
        figures.append([means[scorer]["all"][name] or 0.0 for scorer, name in product(SCORERS, NAMES)])
    signed: Floats = SIGNS * np.array(figures, dtype=np.float64)
    return signed


def _listed(array: Floats) -> object:
    return array.tolist()


def _show(found: dict[str, list[dict[str, Floats]]]) -> None:
    """Print means over seeds, each with its standard error."""
    table = Table("replay", "", *FIGURES)
    for name, by_seed in found.items():
        rows = {what: np.array([one[what] for one in by_seed]) for what in by_seed[0] if what != "by period"}
        if name != JOINT:
            rows["less joint"] = rows["at the end"] - [one["at the end"] for one in found[JOINT]]
        for what, figures in rows.items():
            n = len(figures)
            errors = figures.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(len(FIGURES), np.nan)
            cells = zip(figures.mean(axis=0), errors, strict=True)
            table.add_row(name, what, *(f"{mean:.4f} ±{error:.4f}" for mean, error in cells))
    Console(width=180).print(table)


if __name__ == "__main__":
    typer.run(main)
