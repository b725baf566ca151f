"""The comparison: champion and candidate learn the same batches, and what each predicted is recorded.

Both go on learning, test then train, as the promoted one will: what is compared is how they
serve a stream, not two models that stand still.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.evaluation.lists import computed, diversity, exposure
from pipeline.evaluation.prequential import Scores, per_target
from pipeline.model.scoring import users_before_last
from pipeline.retraining.gate import ModelRun, SharedTargets
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner
from pipeline.training.sampled_lists import content_of

COMPARED = "first_of_basket", "cold", "new_users"
"""Slices that the Gate checks."""
FIRST_ACTS = "first_of_user"
"""A slice that is not compared."""
LIST_LENGTH = 20
PROBES = 200
PROBES_AT_ONCE = 20
REPEATS = 3
"""How often each contender's lists are timed; the fastest counts."""


@dataclass(frozen=True)
class Contender:
    """A learner after the batches, and the scores of their targets from before it learned them."""

    learner: Learner
    scores: Sequence[Scores]


class Evidence(NamedTuple):
    """What the Gate decides on."""

    targets: SharedTargets
    champion: ModelRun
    candidate: ModelRun


def run_through(learner: Learner, batches: Iterable[MicroBatch], held_out: int) -> Contender:
    """Let a learner score and learn batches; leave out the scores of the first `held_out`."""
    scores = [learner.score_and_learn(batch) for batch in batches]
    return Contender(learner, scores[held_out:])


def evidence(champion: Contender, candidate: Contender) -> Evidence:
    """Collect the evidence on two contenders that learned the same batches."""
    pairs = zip(champion.scores, candidate.scores, strict=True)
    known = [theirs if ours.quarantined else ours for ours, theirs in pairs]
    timed = _probe(champion.learner, candidate.learner)
    runs = [
        _model_run(contender, known, lists, seconds)
        for contender, (lists, seconds) in zip((champion, candidate), timed, strict=True)
    ]
    return Evidence(_shared_targets(known), *runs)


def _model_run(
    contender: Contender, known: Sequence[Scores], lists: NDArray[np.int64], seconds: float
) -> ModelRun:
    """Summarise a contender; `known` are scores of the same batches by a contender that was finite."""
    pairs = zip(contender.scores, known, strict=True)
    figures = [_figures(scores, int(_predicted_by_both(other).sum())) for scores, other in pairs]
    log_loss, ndcg = (_joined([batch[name] for batch in figures]) for name in ("log_loss", "ndcg@20"))
    return ModelRun(
        log_loss, ndcg, lists, seconds, _bytes(contender.learner), _spread(contender.learner, lists)
    )


def _spread(learner: Learner, lists: NDArray[np.int64]) -> dict[str, float]:
    """The figures of lists that are known; those of acts are the same for both contenders."""
    diversities = diversity(content_of(lists, learner.table))
    figures = {
        "diversity@20": float(np.nanmean(diversities)) if np.isfinite(diversities).any() else None,
        **exposure(lists, learner.stream.acts, learner.stream.head.least),
    }
    return computed(figures)


def _figures(scores: Scores, targets: int) -> dict[str, NDArray[np.float64]]:
    """The figures of each target that both predict; NaN in a batch that was not finite."""
    figures, shared = per_target(scores.by_scorer["mixture"]), _predicted_by_both(scores)
    if scores.quarantined:
        return {name: np.full(targets, np.nan) for name in figures}
    return {name: values[shared] for name, values in figures.items()}


def _predicted_by_both(scores: Scores) -> NDArray[np.bool_]:
    """Which targets are shared: not the first acts of users, which a model without attributes leaves out."""
    return ~scores.slices[FIRST_ACTS]


def _shared_targets(scores: Sequence[Scores]) -> SharedTargets:
    shared = [_predicted_by_both(one) for one in scores]
    users = [
        user
        for one, own in zip(scores, shared, strict=True)
        for user, is_shared in zip(one.targets.users, own.tolist(), strict=True)
        if is_shared
    ]
    _, numbers = np.unique(np.array(users, dtype=np.str_), return_inverse=True)
    pairs = list(zip(scores, shared, strict=True))
    slices = {
        name: _joined([one.slices[name][own] for one, own in pairs]).astype(np.bool_) for name in COMPARED
    }
    return SharedTargets(numbers.astype(np.int64), slices)


def _joined(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *parts]).astype(np.float64)


def _probe(*learners: Learner) -> list[tuple[NDArray[np.int64], float]]:
    """Rows ``[p, k]`` that each learner recommends to the same users, and the least CPU seconds it took.

    They take turns, so that other load on the machine affects all alike.
    """
    stream = learners[0].stream
    users = sorted(stream.histories.users())
    shuffled = (users[i] for i in np.random.default_rng(learners[0].config.seed).permutation(len(users)))
    probes = list(islice((user for user in shuffled if stream.segment_before_next(user)), PROBES))
    turns = [[_timed(learner, probes) for learner in learners] for _ in range(REPEATS)]
    return [(turn[-1][0], min(seconds for _, seconds in turn)) for turn in zip(*turns, strict=True)]


def _timed(learner: Learner, probes: Sequence[str]) -> tuple[NDArray[np.int64], float]:
    began = time.process_time()  # not the wall clock: other processes share the machine
    starts = range(0, len(probes), PROBES_AT_ONCE)
    parts = [recommended(learner, probes[start : start + PROBES_AT_ONCE], LIST_LENGTH) for start in starts]
    lists = np.concatenate(parts) if parts else np.zeros((0, LIST_LENGTH), dtype=np.int64)
    return lists, time.process_time() - began


@torch.inference_mode()
def recommended(learner: Learner, users: Sequence[str], k: int) -> NDArray[np.int64]:
    """Return the catalogue rows ``[users, k]`` that the mixture ranks first for each user's next act.

    See `next_act_mixture`.
    """
    best = next_act_mixture(learner, users).topk(min(k, len(learner.stream.catalogue)), dim=1)
    ranked: NDArray[np.int64] = best.indices.cpu().numpy()
    return ranked


@torch.inference_mode()
def next_act_mixture(learner: Learner, users: Sequence[str]) -> Tensor:
    """Compute the mixture's log-probabilities ``[users, n]`` of each user's next act.

    The users must have acts that count; the next act is assumed to be in the basket of the last.
    """
    stream = learner.stream
    segments = [segment for user in users if (segment := stream.segment_before_next(user))]
    before = users_before_last(
        segments, learner.recommender, learner.table.all(), learner.config.segments.context
    )
    return learner.mixture(segments, before)


def _bytes(learner: Learner) -> int:
    rows = learner.table.all()
    tensors = [*learner.recommender.learned().values(), rows.residual, rows.bias]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
