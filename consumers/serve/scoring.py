"""Score histories against a View, with exactly the learner's mixture.

Histories that are asked for together share one pass of the tower. A small catalogue is scored whole; of a
large one, candidates are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from consumers.serve.state.item_rows import NO_ROWS
from consumers.serve.state.scans import Scans
from consumers.serve.state.serving_state import ModelView, View
from pipeline.events import InteractionType
from pipeline.model.mixer import REJECTED_WEIGHT, ScorerOutputs, blend, features_of, mix
from pipeline.model.scoring import TARGETS_AT_ONCE, Contexts, score_contexts
from pipeline.retrieval.candidates import Candidates, score_candidates
from pipeline.state.evidence import rejection
from pipeline.state.growing import distinct
from pipeline.state.histories import Act
from pipeline.state.profiles import NO_ATTRIBUTES
from pipeline.state.segments import Segment, segments_before_next

NOTHING_REJECTED: Mapping[str, float] = MappingProxyType({})


class HistoryQuery(NamedTuple):
    """A history whose next act is to be scored.

    Attributes:
        known: acts on items of the index, at least one of positive weight unless there are attributes.
        session: the user's current session; None continues the last act's.
        rows: what alone is to be scored, ascending; None to score all that may be likely.
        also: rows that are to be scored, however unlikely.
        attributes: those of the user that the model reads, as they are stored.
        discovers: whether nothing that the history acts on may be shown.
    """

    known: Sequence[Act]
    session: str | None
    rows: NDArray[np.int64] | None = None
    also: NDArray[np.int64] = NO_ROWS
    attributes: bytes = NO_ATTRIBUTES
    discovers: bool = False


@dataclass(frozen=True)
class Basis:
    """What the items of one history were scored from.

    Attributes:
        user: ``[d]`` vector.
        outputs: of the scorers, for several histories.
        target: number of the history among them.
        rows: ``[c]`` of the first items of the outputs, ascending.
    """

    user: Tensor
    outputs: ScorerOutputs
    target: int
    rows: NDArray[np.int64]

    def features(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the scorers say of some of the rows ``[k]``: ``[k, features]``, see `FEATURES`."""
        return features_of(self.outputs, self.target, np.searchsorted(self.rows, rows))


@dataclass(frozen=True)
class ItemScores:
    """Scores of items.

    Attributes:
        rows: ``[c]``, ascending.
        logits: ``[c]`` logs of probabilities, but for a constant.
        basis: what they follow from; it may have more rows.
        bound: what the logit of no item without a row here exceeds; infinite if that is not known.
    """

    rows: NDArray[np.int64]
    logits: NDArray[np.float64]
    basis: Basis
    bound: float = -np.inf


@torch.inference_mode()
def contexts_of(model: ModelView, asked: Sequence[HistoryQuery], context: int) -> Contexts:
    """Return what m ≤ `TARGETS_AT_ONCE` histories are scored from; the model reads `context` acts of each."""
    assert len(asked) <= TARGETS_AT_ONCE
    view, segments = model.view, _segments_with_next(model.view, asked)
    users = model.snapshot.last_users(segments, model.items.sparse, context)
    contexts = Contexts.of(segments, users, view.covisitation, len(view.index), view.related)
    return contexts.discovering(np.array([one.discovers for one in asked]))


def score(model: ModelView, asked: Sequence[HistoryQuery], context: int) -> list[ItemScores]:
    """Score the next act after each of m ≤ `TARGETS_AT_ONCE` histories, in one pass."""
    contexts, scans = contexts_of(model, asked, context), model.view.scans
    if scans is None:
        return _score_all(model, contexts, asked)
    free = [number for number, one in enumerate(asked) if one.rows is None]
    also = [asked[number].also for number in free]
    numbers = np.repeat(np.arange(len(free)), np.array([rows.size for rows in also], dtype=np.int64))
    pairs = np.stack([numbers, np.concatenate([NO_ROWS, *also])])
    chosen = np.array(free, dtype=np.int64)
    scored = _retrieved(model, contexts, chosen, scans, pairs)
    found = dict(zip(free, scored, strict=True))
    for number, one in enumerate(asked):
        if one.rows is not None:
            own = contexts.select(np.array([number]))
            rows, outputs = outputs_at(model, own, one.rows)
            logits = _logits(blend(model.snapshot.mixer, outputs))[0][np.searchsorted(rows, one.rows)]
            found[number] = ItemScores(one.rows, logits, Basis(own.users[0], outputs, 0, rows))
    return [found[number] for number in range(len(asked))]


@torch.inference_mode()
def outputs_at(
    model: ModelView, contexts: Contexts, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], ScorerOutputs]:
    """Score rows, and those that the contexts know facts of: returns all of them, ascending, with outputs."""
    size = len(model.view.index)
    if model.view.scans is None:
        return np.arange(size), _all_outputs(model, contexts)
    every, m = distinct(rows, contexts.facts[0][2]), len(contexts)
    pairs = np.stack([np.repeat(np.arange(m), every.size), np.tile(every, m)])
    return every, _candidate_outputs(model, contexts, Candidates.of([pairs], m, size))


def popular(
    view: View, rows: NDArray[np.int64], rejected: Mapping[str, float] = NOTHING_REJECTED
) -> NDArray[np.float64]:
    """Return the log-shares ``[m]`` of all acts on rows.

    Items that were rejected, with the strengths given, are lowered.
    """
    scores: NDArray[np.float64] = view.popularity.log_share(rows).astype(np.float64)
    for item, strength in rejected.items():
        row = view.index.row(item)
        if row is not None:
            scores[rows == row] += REJECTED_WEIGHT * rejection(np.array(strength))
    return scores


def shares(log_probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalise to probabilities."""
    weights = np.exp(log_probabilities - log_probabilities.max(initial=-np.inf))
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


@torch.inference_mode()
def _score_all(model: ModelView, contexts: Contexts, asked: Sequence[HistoryQuery]) -> list[ItemScores]:
    outputs = _all_outputs(model, contexts)
    every, logits = np.arange(len(model.view.index)), _logits(mix(model.snapshot.mixer, outputs))
    scored = []
    for number, (one, own) in enumerate(zip(asked, logits, strict=True)):
        rows = every if one.rows is None else one.rows
        scored.append(ItemScores(rows, own[rows], Basis(contexts.users[number], outputs, number, every)))
    return scored


@torch.inference_mode()
def _retrieved(
    model: ModelView, contexts: Contexts, chosen: NDArray[np.int64], scans: Scans, also: NDArray[np.int64]
) -> list[ItemScores]:
    """Score the candidates of chosen targets, and pairs ``[2, p]`` of their numbers and rows."""
    if not chosen.size:
        return []
    contexts = contexts if chosen.size == len(contexts) else contexts.select(chosen)
    mixer = model.snapshot.mixer
    found = scans.retrieve(contexts, model.snapshot.recommender, mixer)
    if also.size:
        found = found._replace(candidates=found.candidates.joined(also))
    outputs = _candidate_outputs(model, contexts, found.candidates)
    bounds = found.bound(mixer[outputs.situation], contexts, outputs).tolist()
    logits, counts = _logits(blend(mixer, outputs)), found.candidates.counts.tolist()
    scored = []
    for number, (count, own, bound) in enumerate(zip(counts, logits, bounds, strict=True)):
        rows = found.candidates.rows[number, :count]
        basis = Basis(contexts.users[number], outputs, number, rows)
        scored.append(ItemScores(rows, own[:count], basis, bound))
    return scored


def _all_outputs(model: ModelView, contexts: Contexts) -> ScorerOutputs:
    """Score all items of a small catalogue."""
    recommender, items = model.snapshot.recommender, model.items.dense
    (outputs,) = score_contexts(contexts, recommender, items, model.view.popularity)
    return outputs


def _candidate_outputs(model: ModelView, contexts: Contexts, candidates: Candidates) -> ScorerOutputs:
    recommender, items = model.snapshot.recommender, model.items.sparse
    return score_candidates(contexts, candidates, recommender, items, True, model.view.popularity)


def _logits(tensor: Tensor) -> NDArray[np.float64]:
    logits: NDArray[np.float64] = tensor.double().numpy()
    return logits


def _segments_with_next(view: View, asked: Sequence[HistoryQuery]) -> list[Segment]:
    """Return the acts of each history as a Segment whose last act is the one to predict."""
    readings = [view.signals.read(one.known) for one in asked]
    coming = [
        (reading.acts[-1] if reading.acts else Act(view.index.ids[0], InteractionType.VIEW, 0)).coming(
            one.session
        )
        for reading, one in zip(readings, asked, strict=True)
    ]
    rows = view.index.rows_by_item(
        act.item for acts in (coming, *(one.known for one in asked)) for act in acts
    )
    found = segments_before_next(readings, coming, view.signals, rows.__getitem__)
    return [segment.introduced(one.attributes) for segment, one in zip(found, asked, strict=True)]
