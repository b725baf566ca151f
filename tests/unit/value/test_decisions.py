"""Outcomes become decisions if their impressions have features."""

from __future__ import annotations

import numpy as np

from pipeline.events import event_digest
from pipeline.state.outcomes import Outcome
from pipeline.value.decisions import decisions_of
from pipeline.value.features import ITEM, STATE, pack
from tests.support.impressions import impression

STATE_OF_ANN = np.arange(STATE, dtype=np.float32)
ITEMS_OF_ANN = np.arange(2 * ITEM, dtype=np.float32).reshape(2, ITEM)


def test_a_decision_has_what_was_known_and_what_came_of_it() -> None:
    shown = impression(features=pack(STATE_OF_ANN, ITEMS_OF_ANN, 2 * ITEMS_OF_ANN[1:]))
    (decision,), unreadable = decisions_of([Outcome(shown, (0.0, 3.0), 77)])
    assert (decision.user, decision.shown_at, unreadable) == (event_digest("ann"), 77, 0)
    np.testing.assert_array_equal(decision.state, STATE_OF_ANN)
    np.testing.assert_array_equal(decision.items, ITEMS_OF_ANN)
    assert decision.others is not None
    np.testing.assert_array_equal(decision.others, 2 * ITEMS_OF_ANN[1:])
    assert (decision.rewards.tolist(), decision.scores.tolist()) == ([0.0, 3.0], [0.5, 0.5])


def test_without_readable_features_there_is_none() -> None:
    shown = impression(features=pack(STATE_OF_ANN, ITEMS_OF_ANN[:1]))
    decisions, unreadable = decisions_of(
        [Outcome(impression(), (0.0, 0.0), 1), Outcome(shown, (0.0, 0.0), 2)]
    )
    assert (decisions, unreadable) == ([], 1)
