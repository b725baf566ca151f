"""Explain an answer: the parts of each item's logit, and the act without which the item would be lower.

The mixture is log-linear, so its parts sum to the logit exactly. The act is found by leaving out: the
history is scored again without each of its latest items. That measures what the act changed in this
answer; a weight of attention, or the largest part, would not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.serve.scoring import popular, score
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import View
from pipeline.model.item_table import Rows
from pipeline.model.mixer import FEATURES, blend, mix, parts_of
from pipeline.state.covisitation import LAG_WEIGHTS, LAGS
from pipeline.state.histories import Act

Share = Callable[[NDArray[np.float64]], NDArray[np.float64]]
MOST_LEFT_OUT = 20
"""Latest items of a history that are left out in turn; each costs one more score of all items."""


class Cause(NamedTuple):
    """The act without which an item would be lower, and what its score and place would be.

    Attributes:
        act: the last act on its item; all acts on that item are left out together.
        score: the item's probability among the eligible items without them.
        place: the item's place by score without them, from 1.
    """

    act: Act
    score: float
    place: int


class Explanation(NamedTuple):
    """Why an item has its score.

    Attributes:
        logit: of the item; the scores of two items have the ratio exp(difference of their logits).
        parts: what each part adds, in nats; they sum to the logit.
        companion: the item of the user's history to which covisitation owes most of its share.
        because: None if the item would be no lower without any of the latest items.
    """

    logit: float
    parts: dict[str, float]
    companion: str | None = None
    because: Cause | None = None


def explain_cosines(cosines: NDArray[np.float64], rows: Sequence[int]) -> list[Explanation]:
    """Explain similar items, whose cosine is all there is to their score."""
    return [Explanation(cosine, {"cosine": cosine}) for cosine in cosines[rows].tolist()]


def explain_popular(view: View, scores: NDArray[np.float64], rows: Sequence[int]) -> list[Explanation]:
    """Explain popular items by their popularity, and by what was rejected; `scores` are their logits."""
    popularity = popular(view)[rows]
    return [
        Explanation(logit, {"popularity": share, "rejected": logit - share})
        for logit, share in zip(scores[rows].tolist(), popularity.tolist(), strict=True)
    ]


@torch.inference_mode()
def explain(
    view: View,
    snapshot: LoadedSnapshot,
    items: Rows,
    known: Sequence[Act],
    session: str | None,
    context: int,
    share: Share,
    rows: Sequence[int],
) -> list[Explanation]:
    """Explain the items that were recommended for a history.

    Args:
        known, session, context: see `consumers.serve.scoring.score`.
        share: from logits to the probabilities by which the answer was chosen.
        rows: the items to explain.
    """
    score_all = partial(score, view, snapshot, items, session=session, context=context)
    outputs = score_all([known])
    logits = blend(snapshot.mixer, outputs)[0].double().numpy()
    with_all = share(logits)
    parts = parts_of(snapshot.mixer, outputs, torch.tensor(rows, dtype=torch.long)).double()
    left_out = _latest(view, known)
    rest = [[act for act in known if act.item != out.item] for out in left_out]
    if len(rest) > 1:
        without = mix(snapshot.mixer, score_all(rest)).double().numpy()
    else:  # nothing is left that the model could read
        without = popular(view, view.signals.read(rest[0]).rejected())[None]
    shares_without = np.stack([share(log_probabilities) for log_probabilities in without])
    companions = _companions(view, known, rows)
    return [
        Explanation(
            float(logits[row]),
            dict(zip(FEATURES, own.tolist(), strict=True)),
            companion,
            _because(row, float(with_all[row]), left_out, shares_without),
        )
        for row, own, companion in zip(rows, parts, companions, strict=True)
    ]


def _latest(view: View, known: Sequence[Act]) -> list[Act]:
    """Return the last act on each of the latest items, newest first."""
    latest: dict[str, Act] = {}
    for act in reversed(view.signals.read(known).acts):
        latest.setdefault(act.item, act)
    return list(latest.values())[:MOST_LEFT_OUT]


def _because(
    row: int, with_all: float, left_out: Sequence[Act], without: NDArray[np.float64]
) -> Cause | None:
    """Find the act that an item owes most of its score to."""
    most = int(without[:, row].argmin())
    lower = float(without[most, row])
    if lower >= with_all:
        return None
    return Cause(left_out[most], lower, 1 + int((without[most] > lower).sum()))


def _companions(view: View, known: Sequence[Act], rows: Sequence[int]) -> list[str | None]:
    """Find the item of the history that suggests each row most; None if none does."""
    acts = view.signals.read(known).acts[: -LAGS - 1 : -1]
    suggested = view.covisitation.suggest([view.index.rows_of([act.item]) for act in acts])[:, rows].toarray()
    best = (LAG_WEIGHTS[: len(acts), None] * suggested).argmax(axis=0).tolist()
    return [acts[most].item if suggested[most, place] > 0 else None for place, most in enumerate(best)]
