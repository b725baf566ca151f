"""Decisions of closed outcomes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.events import event_digest
from pipeline.state.outcomes import Outcome
from pipeline.value.features import unpack
from pipeline.value.port import Decision


def decisions_of(outcomes: Iterable[Outcome]) -> tuple[list[Decision], int]:
    """Return the decisions of outcomes whose impressions have features, and how many were unreadable."""
    decisions, unreadable = list[Decision](), 0
    for outcome in outcomes:
        try:
            decision = _decision(outcome)
        except ValueError:
            unreadable += 1
            continue
        if decision is not None:
            decisions.append(decision)
    return decisions, unreadable


def _decision(outcome: Outcome) -> Decision | None:
    impression = outcome.impression
    if impression.features is None:
        return None
    features = unpack(impression.features, len(impression.items))
    return Decision(
        user=event_digest(impression.user),
        shown_at=outcome.shown_at,
        state=features.state,
        items=features.items,
        scores=np.array(impression.scores, dtype=np.float64),
        rewards=np.array(outcome.rewards, dtype=np.float64),
        others=features.others,
    )
