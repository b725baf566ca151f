"""Measure retrieval: how much of a full ranking its candidates hold, and whether certified answers are exact.

A learner learns a data set; now and then it answers the latest users among candidates and in full. With
`--exact-items 0` even a small catalogue is retrieved from.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.retrains import BATCH, new_learner
from pipeline.cli.terminal import ReportOption
from pipeline.config import LearnerConfig, RetrievalConfig
from pipeline.datasets import open_dataset
from pipeline.evaluation.lists import CUTOFF
from pipeline.events import Interaction, Item
from pipeline.model.mixer import blend
from pipeline.model.scoring import Contexts, score_contexts, users_before_last
from pipeline.retrieval.candidates import Candidates, score_candidates
from pipeline.state.segments import Segment
from pipeline.training.backtest import micro_batches
from pipeline.training.learner import Learner

ROUNDING = 1e-4
"""Scores of a full ranking and among candidates differ by so much at most: they are sums in another order."""


class Checked(NamedTuple):
    """What became of m answers.

    Attributes:
        recalls: ``[m]`` share of the full ranking's best 20 that were candidates.
        certified: ``[m]`` whether the bound says that nothing else can be among the best 20.
        equal: ``[m]`` whether the best 20 of the candidates are those of the full ranking, in their order;
            items whose scores differ by rounding alone may change places.
        counts: ``[m]`` number of candidates.
        seconds: CPU time among candidates, and in full.
    """

    recalls: NDArray[np.float64]
    certified: NDArray[np.bool_]
    equal: NDArray[np.bool_]
    counts: NDArray[np.int64]
    seconds: tuple[float, float]


def main(
    data: Annotated[str, typer.Option(help="Any data set of `millstream backtest`.")] = "shop:events=30000",
    events: Annotated[int, typer.Option(help="Events to learn.")] = 30_000,
    checks: Annotated[int, typer.Option(help="Answers to check.")] = 10_000,
    times: Annotated[int, typer.Option(help="Points of the stream at which answers are checked.")] = 10,
    exact_items: Annotated[int, typer.Option(help="learn.retrieval.exact_items.")] = 0,
    scanned: Annotated[int, typer.Option(help="learn.retrieval.scanned.")] = 32_768,
    report: ReportOption = None,
) -> None:
    """Learn a data set on one thread, and check answers on the way."""
    config = RetrievalConfig(exact_items=exact_items, scanned=scanned)
    learner = new_learner(Path(".cache/content"), LearnerConfig().replace(retrieval=config))
    recorded = (event for event in open_dataset(data).events() if isinstance(event, Item | Interaction))
    batches = list(itertools.islice(micro_batches(recorded, BATCH), 1 + events // BATCH))
    every, found = max(1, len(batches) // times), list[Checked]()
    for batch in batches:
        learner.score_and_learn(batch)
        if batch.step and batch.step % every == 0:
            recent = itertools.chain.from_iterable(
                b.interactions for b in reversed(batches[: batch.step + 1])
            )
            found += check(learner, batch.step, _latest(learner, recent, checks // times))
    figures = summary(found, len(learner.stream.catalogue))
    Console().print_json(json.dumps(figures))
    if report:
        report.write_text(json.dumps(figures, indent=2) + "\n")


@torch.inference_mode()
def check(learner: Learner, step: int, segments: Sequence[Segment]) -> list[Checked]:
    """Answer users, given by segments whose last act is to be predicted, among candidates and in full."""
    stream, rows = learner.stream, learner.table.all()
    users = users_before_last(segments, learner.recommender, rows, learner.config.segments.context)
    contexts = Contexts.of(segments, users, stream.covisitation, len(learner.table))
    learner.retriever.update(step, learner.table, stream.popularity)
    return [_checked(learner, block) for block in contexts.blocks]


def _checked(learner: Learner, block: Contexts) -> Checked:
    began = time.process_time()
    found, rows, certified = _among_candidates(learner, block)
    among = time.process_time() - began
    popularity, table = learner.stream.popularity, learner.table.padded()
    (outputs,) = score_contexts(block, learner.recommender, table, popularity)
    full = learner.mixer.log_probabilities(outputs)
    values, indices = full.topk(CUTOFF, dim=1)
    best, own = indices.numpy(), full.gather(1, torch.from_numpy(rows))
    pairs = np.stack([np.repeat(np.arange(len(block)), CUTOFF), best.ravel()])
    held = found.columns_of(pairs).reshape(best.shape) >= 0
    seconds = among, time.process_time() - began - among
    is_equal = ((own - values).abs() <= ROUNDING).all(dim=1).numpy()
    return Checked(held.mean(axis=1), certified, is_equal, found.counts, seconds)


def _among_candidates(
    learner: Learner, block: Contexts
) -> tuple[Candidates, NDArray[np.int64], NDArray[np.bool_]]:
    """Return the candidates, the best rows ``[m, k]`` among them, and which of these are certified."""
    table, weights = learner.table, learner.mixer.weights
    (retrieved,) = learner.retriever.retrieve(block, learner.recommender, weights, table.all())
    found = retrieved.candidates
    outputs = score_candidates(
        block, found, learner.recommender, table.all(), table.has_content, learner.stream.popularity
    )
    is_none = ~torch.from_numpy(found.is_candidate)
    best = blend(weights, outputs).masked_fill_(is_none, -torch.inf).topk(CUTOFF, dim=1)
    bound = retrieved.bound(weights[outputs.situation], block, outputs)
    rows = np.take_along_axis(found.rows, best.indices.numpy(), axis=1)
    return found, rows, (best.values[:, -1] > bound).numpy()


def _latest(learner: Learner, events: Iterator[Interaction], count: int) -> list[Segment]:
    """Return segments before the next act of users, each once."""
    users = dict.fromkeys(event.user for event in events)
    found = (learner.stream.segment_before_next(user) for user in users)
    return [segment for segment in itertools.islice(found, 2 * count) if segment is not None][:count]


def summary(found: Sequence[Checked], items: int) -> dict[str, float]:
    """Average over all checked answers."""
    recalls, certified, equal, counts = (
        np.concatenate([getattr(one, name) for one in found])
        for name in ("recalls", "certified", "equal", "counts")
    )
    among, full = (
        1_000 * sum(times) / recalls.size for times in zip(*(one.seconds for one in found), strict=True)
    )
    return {
        "items": items,
        "checked": recalls.size,
        "recall@20": round(float(recalls.mean()), 5),
        "certified": round(float(certified.mean()), 4),
        "certified_and_equal": int((certified & equal).sum()),
        "certified_and_not_equal": int((certified & ~equal).sum()),
        "candidates": round(float(counts.mean()), 1),
        "among_candidates_ms": round(among, 3),
        "in_full_ms": round(full, 3),
    }


if __name__ == "__main__":
    typer.run(main)
