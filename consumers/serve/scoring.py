"""Score histories against a View, with exactly the learner's mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.serve.state.item_rows import ItemRows
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import View
from pipeline.model.mixer import REJECTED_WEIGHT, ScorerOutputs, mix
from pipeline.model.scoring import TARGETS_AT_ONCE, score_segments, users_before_last
from pipeline.state.evidence import rejection
from pipeline.state.histories import Act
from pipeline.state.segments import Segment, segment_of

NOTHING_REJECTED: Mapping[str, float] = MappingProxyType({})


@torch.inference_mode()
def score(
    view: View,
    snapshot: LoadedSnapshot,
    items: ItemRows,
    histories: Sequence[Sequence[Act]],
    session: str | None,
    context: int,
) -> ScorerOutputs:
    """Score the next act after each of m ≤ `TARGETS_AT_ONCE` histories with every scorer, over n items.

    Args:
        histories: acts on items of the index, in each at least one of positive weight.
        session: the user's current session; None continues the last act's.
        context: number of the latest acts that the model reads.
    """
    assert len(histories) <= TARGETS_AT_ONCE
    model = snapshot.recommender
    segments = [_segment_with_next(view, acts, session) for acts in histories]
    users = users_before_last(segments, model, items.sparse, context)
    (outputs,) = score_segments(segments, users, model, items.dense, view.covisitation, view.popularity)
    return outputs


def mixture(
    view: View, snapshot: LoadedSnapshot, items: ItemRows, known: list[Act], session: str | None, context: int
) -> NDArray[np.float64]:
    """Return the log-probabilities ``[n]`` of the next act under the learner's mixture; see `score`."""
    mixed: NDArray[np.float64] = (
        mix(snapshot.mixer, score(view, snapshot, items, [known], session, context))[0].double().numpy()
    )
    return mixed


def popular(view: View, rejected: Mapping[str, float] = NOTHING_REJECTED) -> NDArray[np.float64]:
    """Return the log-shares ``[n]`` of all acts; items rejected with the strengths given are lowered."""
    scores: NDArray[np.float64] = view.popularity.log_share().astype(np.float64)
    for item, strength in rejected.items():
        row = view.index.row(item)
        if row is not None:
            scores[row] += REJECTED_WEIGHT * rejection(np.array(strength))
    return scores


def shares(log_probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalise to probabilities."""
    weights = np.exp(log_probabilities - log_probabilities.max(initial=-np.inf))
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def _segment_with_next(view: View, known: Sequence[Act], session: str | None) -> Segment:
    """Return the acts as a Segment whose last act is the one to predict."""

    def row(item: str) -> int:
        found = view.index.row(item)
        assert found is not None
        return found

    reading = view.signals.read(known)
    coming = reading.acts[-1].coming(session)
    return segment_of(reading, len(reading.acts), view.signals, row, coming)
