"""Explain an answer: the parts of each item's logit, and the act without which the item would be lower.

The mixture is log-linear, so its parts sum to the logit exactly. The act is found by leaving out: the
history is scored again without each of its latest items. That measures what the act changed in this
answer; a weight of attention, or the largest part, would not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.serve.scoring import HistoryQuery, contexts_of, outputs_at, popular
from consumers.serve.state.serving_state import ModelView, View
from pipeline.model.mixer import FEATURES, ScorerOutputs, blend, mix, parts_of
from pipeline.state.covisitation import asked_items
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


def explain_cosines(cosines: Sequence[float]) -> list[Explanation]:
    """Explain similar items, whose cosine is all there is to their score."""
    return [Explanation(cosine, {"cosine": cosine}) for cosine in cosines]


def explain_popular(view: View, rows: NDArray[np.int64], rejected: Mapping[str, float]) -> list[Explanation]:
    """Explain popular items ``[k]`` by their popularity, and by what was rejected."""
    logits, popularity = popular(view, rows, rejected), popular(view, rows)
    return [
        Explanation(logit, {"popularity": share, "rejected": logit - share})
        for logit, share in zip(logits.tolist(), popularity.tolist(), strict=True)
    ]


@torch.inference_mode()
def explain(
    model: ModelView,
    asked: HistoryQuery,
    context: int,
    share: Share,
    eligible: NDArray[np.int64],
    shown: Sequence[int],
) -> list[Explanation]:
    """Explain the items that were recommended for a history.

    Args:
        asked, context: see `consumers.serve.scoring`.
        share: from the logits of the eligible rows to the probabilities by which the answer was chosen.
        eligible: ``[m]`` rows among which it was chosen, ascending.
        shown: rows of the items to explain.
    """
    view, mixer = model.view, model.snapshot.mixer

    def outputs_of(histories: Sequence[Sequence[Act]]) -> tuple[NDArray[np.int64], ScorerOutputs]:
        contexts = contexts_of(model, [asked._replace(known=acts) for acts in histories], context)
        every, outputs = outputs_at(model, contexts, eligible)
        return np.searchsorted(every, eligible), outputs

    at, outputs = outputs_of([asked.known])
    opens = bool(outputs.situation[0])
    logits = blend(mixer, outputs)[0].double().numpy()[at]
    with_all, positions = share(logits), np.searchsorted(eligible, shown)
    parts = parts_of(mixer, outputs, torch.from_numpy(at[positions])).double()
    left_out = _latest(view, asked.known)
    rest = [[act for act in asked.known if act.item != out.item] for out in left_out]
    if len(rest) > 1 or (rest and asked.attributes):
        at, outputs = outputs_of(rest)
        without = mix(mixer, outputs).double().numpy()[:, at]
    else:  # nothing is left that the model could read
        without = np.stack(
            [popular(view, eligible, view.signals.read(own).rejected()) for own in rest or [[]]]
        )
    shares_without = np.stack([share(log_probabilities) for log_probabilities in without])
    companions = _companions(view, asked.known, shown, opens)
    return [
        Explanation(
            float(logits[position]),
            dict(zip(FEATURES, own.tolist(), strict=True)),
            companion,
            _because(position, float(with_all[position]), left_out, shares_without),
        )
        for position, own, companion in zip(positions.tolist(), parts, companions, strict=True)
    ]


def _latest(view: View, known: Sequence[Act]) -> list[Act]:
    """Return the last act on each of the latest items, newest first."""
    latest: dict[str, Act] = {}
    for act in reversed(view.signals.read(known).acts):
        latest.setdefault(act.item, act)
    return list(latest.values())[:MOST_LEFT_OUT]


def _because(
    position: int, with_all: float, left_out: Sequence[Act], without: NDArray[np.float64]
) -> Cause | None:
    """Find the act that an item owes most of its score to."""
    most = int(without[:, position].argmin())
    lower = float(without[most, position])
    if not left_out or lower >= with_all:
        return None
    return Cause(left_out[most], lower, 1 + int((without[most] > lower).sum()))


def _companions(view: View, known: Sequence[Act], rows: Sequence[int], opens: bool) -> list[str | None]:
    """Find the item of the history that suggests each row most; None if none does."""
    if not view.signals.read(known).acts:
        return [None] * len(rows)
    acted = view.index.rows_of([act.item for act in view.signals.read(known).acts])
    items, weights = asked_items(acted, opens)
    suggested = view.covisitation.suggest(list(items[:, None]))[:, rows].toarray()
    best = (weights[:, None] * suggested).argmax(axis=0).tolist()
    names = [view.index.ids[row] for row in items.tolist()]
    return [names[most] if suggested[most, place] > 0 else None for place, most in enumerate(best)]
