"""Cohorts of targets: each by what its name says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.prequential import SLICES, Targets
from pipeline.state.head import Head
from pipeline.state.segments import NO_ACTS, Segment
from pipeline.training.cohorts import PAUSE_BUCKET, RETURNING_ACTS, cohorts

NEVER = PAUSE_BUCKET - 1


def segment(gaps: list[int], first_new: int = 0) -> Segment:
    """Acts with these buckets of the time since the one before."""
    n = len(gaps)
    columns: dict[str, Any] = {
        name: np.zeros(n, dtype=np.int64) for name in ("items", "types", "values", "baskets")
    }
    return replace(
        NO_ACTS,
        **columns,
        gaps=np.array(gaps, dtype=np.int64),
        weights=np.ones(n),
        wanted=np.ones(n, dtype=np.bool_),
        first_new=first_new,
    )


def masks(segments: list[Segment], pasts: list[int], acts: list[int], head: Head) -> dict[str, list[bool]]:
    m = sum(one.targets.size for one in segments)
    known = Targets(["u"] * m, np.array(pasts, dtype=np.int64), np.array(acts, dtype=np.int64))
    found = cohorts(segments, known, np.zeros(m, dtype=np.bool_), head)
    assert list(found) == list(SLICES)
    return {name: mask.tolist() for name, mask in found.items()}


def test_items_and_users_are_new_rare_or_known() -> None:
    head = Head()
    head.load(np.array([40, 6, 4]))
    found = masks([segment([0] * 5)], pasts=[1, 4, 5, 9], acts=[0, 4, 6, 40], head=head)
    assert found["all"] == [True] * 4
    assert found["new_users"] == [True, True, False, False]
    assert found["new_items"] == [True, False, False, False]
    assert found["cold"] == [True, True, False, False]
    assert found["tail"] == [True, True, True, False], "the head is the item with 40 of 50 acts"


def pauses(segments: list[Segment]) -> tuple[list[bool], list[bool]]:
    m = sum(one.targets.size for one in segments)
    found = masks(segments, [9] * m, [9] * m, Head())
    return found["dormant"], found["returning"]


def test_who_was_long_away_is_dormant_and_then_returning() -> None:
    dormant, returning = pauses([segment([0, NEVER, PAUSE_BUCKET, 3, 3])])
    assert dormant == [False, True, False, False]
    assert returning == [False, False, True, True]


def test_a_return_is_over_after_some_acts() -> None:
    _, returning = pauses([segment([0, PAUSE_BUCKET] + [3] * (RETURNING_ACTS + 2))])
    assert returning == [False] + [True] * RETURNING_ACTS + [False] * 2


def test_old_acts_of_the_history_count_and_those_of_others_do_not() -> None:
    away = segment([0, 3, PAUSE_BUCKET + 1, 3], first_new=3)
    other = segment([0, 3])
    assert pauses([away, other]) == ([False, False], [True, False])
    assert pauses([other, away]) == ([False, False], [False, True])


@pytest.mark.parametrize("empty", [[segment([0])], [segment([0]), segment([0, 1, 1], first_new=3)]])
def test_segments_without_targets_have_no_cohorts(empty: list[Segment]) -> None:
    assert pauses(empty) == ([], [])
