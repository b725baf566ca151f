"""Measure what the Gate promotes: real retrains after an abrupt drift, bad candidates, and equal ones.

Each seed is a simulated shop whose users change their preferences at once. The drift monitor
takes some 500 to 1,000 events to detect it (see drift_detection.py); the window begins after
that. Each candidate is compared with the champion as `millstream retrain` does it.

The real retrain is also compared with learners that never learned the old regime:
- `new, same events`: started at the drift, it has learned the events that the candidate has seen
  since, and is scored on the same trial, except the first act of users that it does not know;
- `new, as many since`: learned a shop that has the new regime only, for as many events as the
  candidate has seen since the drift; the shop's catalogue is still smaller;
- `new, as many in all`: the same learner, after as many events as the candidate has seen in all.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.retrains import (
    BATCH,
    HELD_OUT,
    TRIAL,
    WAIT,
    batches_of,
    copy_of,
    interactions_of,
    mean_figures,
    new_learner,
    retrain,
)
from pipeline.cli.terminal import ReportOption
from pipeline.config import GateConfig, TrainingConfig
from pipeline.datasets import open_dataset
from pipeline.evaluation.prequential import Scores
from pipeline.events import Interaction
from pipeline.retraining.comparison import evidence, run_through
from pipeline.retraining.gate import GateOutcome, GateVerdict, decide
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

SHOP = "shop:seed={seed},events={end},drift=abrupt,drift_at={at}"
DRIFT, DELAY = 40, 3
"""Batches before the drift, and from the drift to the alarm."""
CHAMPION = DRIFT + DELAY + WAIT
END = CHAMPION + HELD_OUT + TRIAL
SHOWN = ("ndcg@20", "log_loss")
REGAINED = (
    "champion's NDCG / this",
    "retrained's NDCG / this",
    "minimum",
    "retrained's log-loss - this",
)


@dataclass(frozen=True)
class Stage:
    """The input of a candidate: a shop's stream in batches, and the champion at the end of the window."""

    seed: int
    opening: MicroBatch
    batches: Sequence[MicroBatch]
    champion: Learner

    @property
    def ahead(self) -> Sequence[MicroBatch]:
        """Batches to validate on, then to compare on."""
        return self.batches[CHAMPION:]

    def interactions(self, start: int, count: int) -> list[Interaction]:
        """Interactions of `count` batches from `start`."""
        return interactions_of(self.batches[start : start + count])


def main(
    seeds: Annotated[int, typer.Option(help="Number of shops.")] = 20,
    first: Annotated[int, typer.Option(help="First seed; settings were chosen on 0-3, 5-8, 10-12.")] = 0,
    report: ReportOption = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Make and judge the candidates of every shop, on one thread; one or two minutes per shop."""
    logging.disable(logging.ERROR)  # every batch would log the NaN
    new, found = new_learner(cache), dict[int, Any]()
    for seed in track(range(first, first + seeds)):
        found[seed] = judged(new, seed)
        if report:
            report.write_text(json.dumps(found, indent=2) + "\n")
    show(found.values())


def judged(new: Learner, seed: int) -> dict[str, Any]:
    """Judge the candidates of one shop; return the verdicts, and the mean figures of all learners."""
    stage = _stage(new, seed)
    champion = run_through(copy_of(stage.champion), stage.ahead, HELD_OUT)
    decided, means = {}, {"champion": mean_figures(champion.scores)}
    for name, make in CANDIDATES.items():
        began = time.process_time()
        candidate, about = make(stage)
        seconds = time.process_time() - began
        contender = run_through(candidate, stage.ahead, HELD_OUT)
        verdict = decide(*evidence(champion, contender), GateConfig())
        decided[name] = {**verdict.model_dump(mode="json"), **about, "seconds": seconds}
        if name == "retrained":
            means[name] = mean_figures(contender.scores)
    return {"verdicts": decided, "means": means | _references(stage, new)}


def _stage(new: Learner, seed: int) -> Stage:
    opening, *batches = _shop(seed, DRIFT)
    champion = new.another()
    _learn(champion, [opening, *batches[:CHAMPION]])
    return Stage(seed, opening, batches, champion)


def _shop(seed: int, drift: int) -> list[MicroBatch]:
    """The catalogue, then the batches of a shop that drifts after `drift` batches."""
    source = SHOP.format(seed=seed, end=END * BATCH, at=drift * BATCH)
    return batches_of(open_dataset(source).events())


def _learn(learner: Learner, batches: Iterable[MicroBatch]) -> list[Scores]:
    return [learner.score_and_learn(batch) for batch in batches]


def _retrained(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """Retrain as the daemon does, on the events since the alarm."""
    return _on(stage, stage.interactions(CHAMPION - WAIT, WAIT), stage.interactions(CHAMPION, HELD_OUT))


def _shuffled(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """Retrain on shuffled items, in the held-out events too, because otherwise epoch 0 is best."""
    random = np.random.default_rng(stage.seed)
    window, held_out = (
        _shuffled_items(stage.interactions(start, count), random)
        for start, count in ((CHAMPION - WAIT, WAIT), (CHAMPION, HELD_OUT))
    )
    return _on(stage, window, held_out)


def _stale(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """Retrain on the first events of the shop, and validate on the next ones."""
    return _on(stage, stage.interactions(0, WAIT), stage.interactions(WAIT, HELD_OUT))


def _not_a_number(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """The champion with one weight set to NaN."""
    candidate = copy_of(stage.champion)
    weights = candidate.recommender.learned()
    name = sorted(weights)[0]
    with torch.no_grad():
        weights[name].view(-1)[0] = torch.nan
    return candidate, {"weight": name}


def _equal(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """A learner of another seed, different for each shop, that has learned the same events."""
    candidate = stage.champion.another()
    candidate.reset(candidate.config.replace(seed=candidate.config.seed + 1 + stage.seed))
    _learn(candidate, [stage.opening, *stage.batches[:CHAMPION]])
    return candidate, {}


CANDIDATES: Mapping[str, Callable[[Stage], tuple[Learner, dict[str, Any]]]] = {
    "retrained": _retrained,
    "shuffled": _shuffled,
    "stale": _stale,
    "nan": _not_a_number,
    "equal": _equal,
}
"""Each makes a candidate, and returns it with facts about it for the report."""


def _on(
    stage: Stage, window: Sequence[Interaction], held_out: Sequence[Interaction]
) -> tuple[Learner, dict[str, Any]]:
    candidate = copy_of(stage.champion)
    result = retrain(candidate, window, held_out, TrainingConfig())
    return candidate, {"best_epoch": result.best_epoch, "refolded": result.refolded}


def _shuffled_items(events: Sequence[Interaction], random: np.random.Generator) -> list[Interaction]:
    items = random.permutation([event.item for event in events]).tolist()
    return [event.model_copy(update={"item": item}) for event, item in zip(events, items, strict=True)]


def _references(stage: Stage, new: Learner) -> dict[str, dict[str, float]]:
    """Mean figures of learners that never learned the old regime."""
    items = [*stage.opening.items, *(item for batch in stage.batches[:DRIFT] for item in batch.items)]
    since = _learn(new.another(), [replace(stage.opening, items=items), *stage.batches[DRIFT:]])
    always = _learn(new.another(), _shop(stage.seed, 0))
    return {
        "new, same events": mean_figures(since[-TRIAL:]),
        "new, as many since": mean_figures(always[: END - DRIFT + 1][-TRIAL:]),
        "new, as many in all": mean_figures(always[-TRIAL:]),
    }


def show(found: Iterable[Mapping[str, Any]]) -> None:
    """Print the promotions, the failed checks of the others, and how the retrained ones compare."""
    found, console = list(found), Console()
    decided = Table("candidate", "promoted", "gain, nats", "its lower bound", "failed checks")
    for name in CANDIDATES:
        decided.add_row(name, *_verdict_cells([_verdict(shop, name) for shop in found]))
    console.print(decided)
    regained = Table("learner", *SHOWN, *REGAINED)
    for name in found[0]["means"]:
        regained.add_row(name, *_mean_cells([shop["means"] for shop in found], name))
    console.print(regained)


def _verdict(shop: Mapping[str, Any], name: str) -> GateVerdict:
    written = shop["verdicts"][name]
    return GateVerdict.model_validate({field: written[field] for field in GateVerdict.model_fields})


def _verdict_cells(decided: Sequence[GateVerdict]) -> list[str]:
    promoted = [verdict.outcome is GateOutcome.PROMOTED for verdict in decided]
    compared = [verdict.figures for verdict in decided if "log_loss.all.gain" in verdict.figures]
    bounds = ([figures[f"log_loss.all.{part}"] for figures in compared] for part in ("gain", "low"))
    failed = Counter(
        reason.partition(":")[0]
        for verdict in decided
        if verdict.outcome is not GateOutcome.PROMOTED
        for reason in verdict.reasons
    )
    return [
        f"{sum(promoted)} of {len(promoted)}",
        *(f"{mean(part):+.3f} ({min(part):+.3f} to {max(part):+.3f})" if part else "-" for part in bounds),
        "\n".join(f"{count} {reason}" for reason, count in failed.most_common()),
    ]


def _mean_cells(shops: Sequence[Mapping[str, Mapping[str, float]]], name: str) -> list[str]:
    """Means of this learner, and the ratios of champion and candidate to them."""
    ndcg, log_loss = (
        {each: mean(shop[each][figure] for shop in shops) for each in ("champion", "retrained", name)}
        for figure in SHOWN
    )
    least = min(shop["retrained"]["ndcg@20"] / shop[name]["ndcg@20"] for shop in shops)
    return [
        f"{ndcg[name]:.4f}",
        f"{log_loss[name]:.4f}",
        f"{ndcg['champion'] / ndcg[name]:.3f}",
        f"{ndcg['retrained'] / ndcg[name]:.3f}",
        f"{least:.3f}",
        f"{log_loss['retrained'] - log_loss[name]:+.4f}",
    ]


if __name__ == "__main__":
    typer.run(main)
