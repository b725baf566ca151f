"""Binary decisions in recorded data: what a learner predicts of them before it learns them.

Two kinds are honest. A shown item gets a response or none, where the data has impressions. An act is positive
or negative, where the data has both. Other data says only what was chosen: what was not chosen may never have
been seen, so no probability of a yes can be tested with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from pipeline.config import RewardsConfig
from pipeline.evaluation.calibration import Floats
from pipeline.evaluation.classification import ClassificationReport
from pipeline.evaluation.responses import PreferenceQuality, ResponseQuality
from pipeline.events import Impression, Interaction, InteractionType
from pipeline.model.scoring import TARGETS_AT_ONCE, users_before_last
from pipeline.state.histories import Act
from pipeline.state.join_state import ShownImpression
from pipeline.state.outcomes import Outcome, OutcomeJoin
from pipeline.state.segments import Segment
from pipeline.state.signals import Signals
from pipeline.state.stream import StreamState
from pipeline.training.learner import Learner

ENDLESS = 2**62
"""A time after all windows, in ms."""


class BinaryDecision(NamedTuple):
    """An impression or an act of a batch, the items to score, and the user's acts of the batch before it."""

    event: Impression | Interaction
    items: tuple[str, ...]
    before: tuple[Act, ...]


class BinaryDecisions:
    """Figures of the binary decisions in recorded data, whose clock is the events' own."""

    def __init__(self, rewards: RewardsConfig) -> None:
        """Join impressions and acts as the settings of rewards say."""
        self._join = OutcomeJoin(rewards)
        self._responses = ResponseQuality(self._join.window)
        self._preferences = PreferenceQuality()
        self._has_negative = False

    def add(
        self, learner: Learner, impressions: Sequence[Impression], interactions: Sequence[Interaction]
    ) -> None:
        """Predict the decisions of a batch that the learner is to learn next.

        Acts are predicted from the first negative one on: before it there is nothing to distinguish.
        """
        signals = learner.stream.signals
        self._has_negative |= any(signals.sign(Act.of(event)) < 0 for event in interactions)
        events: list[Impression | Interaction] = [*impressions, *interactions]
        events.sort(key=_in_order)
        decisions = list(_decisions(events, signals if self._has_negative else None))
        signs, scores = list[bool](), list[Floats]()
        for decision, found in zip(decisions, log_scores(learner, decisions), strict=True):
            event = decision.event
            if isinstance(event, Impression):
                self._show(event, found)
                continue
            self._take(self._join.act(event, event.time))
            if found.size:
                signs.append(signals.sign(Act.of(event)) > 0)
                scores.append(found)
        if signs:
            self._preferences.add(np.concatenate(scores), np.array(signs))

    def report(self) -> dict[str, ClassificationReport]:
        """Return the figures by kind, of the kinds that the data has."""
        self._take(self._join.close(ENDLESS))
        found = {"response": self._responses.report(), "preference": self._preferences.report()}
        return {kind: figures for kind, figures in found.items() if figures.n}

    def _show(self, impression: Impression, log_scores: Floats) -> None:
        """Wait for what comes of an impression, with the learner's scores in place of the recorded ones."""
        if log_scores.size:
            scores = tuple(np.exp(log_scores).tolist())
            shown = impression.model_copy(update={"scores": scores})
            self._take(self._join.show(shown, impression.time))

    def _take(self, closed: Iterable[ShownImpression]) -> None:
        for one in closed:
            self._responses.add(Outcome.of(one))


@torch.inference_mode()
def log_scores(learner: Learner, decisions: Sequence[BinaryDecision]) -> list[Floats]:
    """Compute the mixture's log-probabilities of each decision's k items to be in the next act, ``[k]``.

    None of them are known of a user without acts that count. An item that the learner has not seen has the
    share of any.
    """
    scores: list[Floats] = [np.zeros(0) for _ in decisions]
    asked = [(i, s) for i, one in enumerate(decisions) if one.items and (s := _segment(learner.stream, one))]
    for start in range(0, len(asked), TARGETS_AT_ONCE):
        numbers, segments = zip(*asked[start : start + TARGETS_AT_ONCE], strict=True)
        context = learner.config.segments.context
        users = users_before_last(segments, learner.recommender, learner.table.all(), context)
        mixed = learner.mixture(segments, users).double().cpu().numpy()
        for number, row in zip(numbers, mixed, strict=True):
            scores[number] = _of_items(row, decisions[number].items, learner.stream)
    return scores


def _of_items(row: Floats, items: Sequence[str], stream: StreamState) -> Floats:
    known = [item in stream.catalogue for item in items]
    found = np.full(len(items), -np.log(row.size))
    found[known] = row[[stream.catalogue.row(item) for item in items if item in stream.catalogue]]
    return found


def _segment(stream: StreamState, decision: BinaryDecision) -> Segment | None:
    """Build a Segment whose last act is a placeholder for the decision; None without acts to go by."""
    before = [act for act in decision.before if act.item in stream.catalogue]
    reading, _ = stream.read(stream.histories.of(decision.event.user), before)
    return stream.before_next(reading, decision.event.user)


def _decisions(
    events: Iterable[Impression | Interaction], signals: Signals | None
) -> Iterator[BinaryDecision]:
    """Yield events with the acts before them.

    Neither acts of no sign nor returns are to be predicted; without `signals` no act is.
    """
    before: defaultdict[str, tuple[Act, ...]] = defaultdict(tuple)
    for event in events:
        if isinstance(event, Impression):
            yield BinaryDecision(event, event.items, before[event.user])
            continue
        act = Act.of(event)
        asks = signals is not None and event.type is not InteractionType.RETURN and signals.sign(act) != 0
        yield BinaryDecision(event, (event.item,) if asks else (), before[event.user])
        before[event.user] += (act,)


def _in_order(event: Impression | Interaction) -> tuple[int, bool]:
    return event.time, isinstance(event, Interaction)
