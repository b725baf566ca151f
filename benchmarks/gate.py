"""What the Gate lets through: an honest retrain after an abrupt drift, bad candidates, and equal ones.

A seed is a simulated shop whose public changes its mind at once. The drift monitor takes
some 500 to 1,000 events to see it (see drift_detection.py); the window is what comes after
that. Each candidate is compared with the champion as `millstream retrain` does it.

What the honest one regains is told against learners that never knew the old regime:
- `new, same events`: begun at the drift, it has learned what the candidate has seen since, and
  is scored on the same trial, but for the first act of whom it does not know;
- `new, as many since`: of a shop that knows the new regime only, after as many events as the
  candidate has seen since the drift: its catalogue is still smaller;
- `new, as many in all`: the same learner, after as many events as the candidate has seen.
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
    new_learner,
    retrain,
    standing,
)
from pipeline.config import GateConfig, TrainingConfig
from pipeline.datasets import open_dataset
from pipeline.evaluation.prequential import Scores
from pipeline.events import Interaction
from pipeline.retraining.comparison import evidence, run_through
from pipeline.retraining.gate import GateVerdict, Outcome, decide
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

SHOP = "shop:seed={seed},events={end},drift=abrupt,drift_at={at}"
DRIFT, DELAY = 40, 3
"""Batches before the drift, and from there to the alarm."""
CHAMPION = DRIFT + DELAY + WAIT
END = CHAMPION + HELD_OUT + TRIAL
SHOWN = ("ndcg@20", "log_loss")
REGAINED = (
    "champion's NDCG, of this",
    "retrained's NDCG, of this",
    "at least",
    "retrained's log-loss, less this",
)


@dataclass(frozen=True)
class Stage:
    """What a candidate is made from: a shop's stream in batches, and the champion as the window ends."""

    seed: int
    opening: MicroBatch
    batches: Sequence[MicroBatch]
    champion: Learner

    @property
    def ahead(self) -> Sequence[MicroBatch]:
        """To validate on, then to compare on."""
        return self.batches[CHAMPION:]

    def interactions(self, start: int, count: int) -> list[Interaction]:
        """Those of so many batches."""
        return interactions_of(self.batches[start : start + count])


def main(
    seeds: Annotated[int, typer.Option(help="How many shops.")] = 20,
    first: Annotated[int, typer.Option(help="The first seed; settings were chosen on 0-3, 5-8, 10-12.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Where to write the figures as JSON.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder of content vectors.")] = Path(".cache/content"),
) -> None:
    """Make and judge the candidates of every shop, on one thread; a minute or two a shop."""
    logging.disable(logging.ERROR)  # of the NaN, each batch would tell
    new, found = new_learner(cache), dict[int, Any]()
    for seed in track(range(first, first + seeds)):
        found[seed] = judged(new, seed)
        if report:
            report.write_text(json.dumps(found, indent=2) + "\n")
    show(found.values())


def judged(new: Learner, seed: int) -> dict[str, Any]:
    """Verdicts on the candidates of one shop, and how champion, candidate and references stand."""
    stage = _stage(new, seed)
    champion = run_through(copy_of(stage.champion), stage.ahead, HELD_OUT)
    by_scorer, standings = {}, {"champion": standing(champion.scores)}
    for name, make in CANDIDATES.items():
        began = time.process_time()
        candidate, about = make(stage)
        seconds = time.process_time() - began
        contender = run_through(candidate, stage.ahead, HELD_OUT)
        verdict = decide(*evidence(champion, contender), GateConfig())
        by_scorer[name] = {**verdict.model_dump(mode="json"), **about, "seconds": seconds}
        if name == "retrained":
            standings[name] = standing(contender.scores)
    return {"scores": by_scorer, "standings": standings | _references(stage, new)}


def _stage(new: Learner, seed: int) -> Stage:
    opening, *batches = _shop(seed, DRIFT)
    champion = new.another()
    _learn(champion, [opening, *batches[:CHAMPION]])
    return Stage(seed, opening, batches, champion)


def _shop(seed: int, drift: int) -> list[MicroBatch]:
    """The catalogue, then what happens in a shop that drifts after so many batches."""
    source = SHOP.format(seed=seed, end=END * BATCH, at=drift * BATCH)
    return batches_of(open_dataset(source).events())


def _learn(learner: Learner, batches: Iterable[MicroBatch]) -> list[Scores]:
    return [learner.score_and_learn(batch) for batch in batches]


def _retrained(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """As the daemon does it: on what came since the alarm."""
    return _on(stage, stage.interactions(CHAMPION - WAIT, WAIT), stage.interactions(CHAMPION, HELD_OUT))


def _shuffled(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """The same, but what was acted on is mixed up, in the held-out events too: else epoch 0 is best."""
    random = np.random.default_rng(stage.seed)
    window, held_out = (
        _mixed_up(stage.interactions(start, count), random)
        for start, count in ((CHAMPION - WAIT, WAIT), (CHAMPION, HELD_OUT))
    )
    return _on(stage, window, held_out)


def _stale(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """On the first events of the shop, and validated on those that followed them."""
    return _on(stage, stage.interactions(0, WAIT), stage.interactions(WAIT, HELD_OUT))


def _not_a_number(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """The champion, but for one weight."""
    candidate = copy_of(stage.champion)
    weights = candidate.recommender.learned()
    name = sorted(weights)[0]
    with torch.no_grad():
        weights[name].view(-1)[0] = torch.nan
    return candidate, {"weight": name}


def _equal(stage: Stage) -> tuple[Learner, dict[str, Any]]:
    """A learner of another seed, a new one each time, that has learned the same."""
    candidate = stage.champion.another()
    candidate.begin(candidate.config.replace(seed=candidate.config.seed + 1 + stage.seed))
    _learn(candidate, [stage.opening, *stage.batches[:CHAMPION]])
    return candidate, {}


CANDIDATES: Mapping[str, Callable[[Stage], tuple[Learner, dict[str, Any]]]] = {
    "retrained": _retrained,
    "shuffled": _shuffled,
    "stale": _stale,
    "nan": _not_a_number,
    "equal": _equal,
}
"""Each makes a candidate, and tells what is to be known about it."""


def _on(
    stage: Stage, window: Sequence[Interaction], held_out: Sequence[Interaction]
) -> tuple[Learner, dict[str, Any]]:
    candidate = copy_of(stage.champion)
    result = retrain(candidate, window, held_out, TrainingConfig())
    return candidate, {"best_epoch": result.best_epoch, "refolded": result.refolded}


def _mixed_up(events: Sequence[Interaction], random: np.random.Generator) -> list[Interaction]:
    items = random.permutation([event.item for event in events]).tolist()
    return [event.model_copy(update={"item": item}) for event, item in zip(events, items, strict=True)]


def _references(stage: Stage, new: Learner) -> dict[str, dict[str, float]]:
    """How learners stand that never knew the old regime."""
    items = [*stage.opening.items, *(item for batch in stage.batches[:DRIFT] for item in batch.items)]
    since = _learn(new.another(), [replace(stage.opening, items=items), *stage.batches[DRIFT:]])
    always = _learn(new.another(), _shop(stage.seed, 0))
    return {
        "new, same events": standing(since[-TRIAL:]),
        "new, as many since": standing(always[: END - DRIFT + 1][-TRIAL:]),
        "new, as many in all": standing(always[-TRIAL:]),
    }


def show(found: Iterable[Mapping[str, Any]]) -> None:
    """Print what was promoted, why the others were not, and what the retrained ones regained."""
    found, console = list(found), Console()
    by_scorer = Table("candidate", "promoted", "gain, nats", "its lower bound", "failed checks")
    for name in CANDIDATES:
        by_scorer.add_row(name, *_verdict_cells([_verdict(shop, name) for shop in found]))
    console.print(by_scorer)
    regained = Table("learner", *SHOWN, *REGAINED)
    for name in found[0]["standings"]:
        regained.add_row(name, *_standing_cells([shop["standings"] for shop in found], name))
    console.print(regained)


def _verdict(shop: Mapping[str, Any], name: str) -> GateVerdict:
    told = shop["scores"][name]
    return GateVerdict.model_validate({field: told[field] for field in GateVerdict.model_fields})


def _verdict_cells(by_scorer: Sequence[GateVerdict]) -> list[str]:
    promoted = [verdict.outcome is Outcome.PROMOTED for verdict in by_scorer]
    judged = [verdict.figures for verdict in by_scorer if "log_loss.all.gain" in verdict.figures]
    bounds = ([figures[f"log_loss.all.{part}"] for figures in judged] for part in ("gain", "low"))
    failed = Counter(
        reason.partition(":")[0]
        for verdict in by_scorer
        if verdict.outcome is not Outcome.PROMOTED
        for reason in verdict.reasons
    )
    return [
        f"{sum(promoted)} of {len(promoted)}",
        *(f"{mean(told):+.3f} ({min(told):+.3f} to {max(told):+.3f})" if told else "-" for told in bounds),
        "\n".join(f"{count} {reason}" for reason, count in failed.most_common()),
    ]


def _standing_cells(shops: Sequence[Mapping[str, Mapping[str, float]]], name: str) -> list[str]:
    """Means of this learner, and what champion and candidate reach of it."""
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
