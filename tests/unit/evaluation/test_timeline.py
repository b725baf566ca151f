"""A run in windows: how many, how wide, and that nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.prequential import Quality
from pipeline.evaluation.timeline import MOST_WINDOWS, Timeline
from tests.support.scores import scores

EVENTS = 10


def ranks_of(timeline: Timeline) -> list[float | None]:
    return [window.quality.report()["model"]["all"]["log_loss"] for window in timeline.windows]


@given(batches=st.integers(1, 5 * MOST_WINDOWS))
def test_windows_are_bounded_equally_wide_and_lose_nothing(batches: int) -> None:
    timeline, whole = Timeline(), Quality()
    for rank in range(batches):
        timeline.add(scores(rank + 1), EVENTS, 0.5, {})
        whole.add(scores(rank + 1))
    windows = timeline.windows
    assert min(batches, MOST_WINDOWS // 2) <= len(windows) <= MOST_WINDOWS
    assert len({window.events for window in windows[:-1]}) <= 1
    assert 2 * windows[-1].events >= windows[0].events
    total = timeline.total()
    assert (total.events, total.seconds) == (EVENTS * batches, 0.5 * batches)
    assert total.quality.report()["model"] == {
        "all": pytest.approx(whole.report()["model"]["all"]),
    }


def test_windows_are_in_order() -> None:
    timeline = Timeline()
    for rank in range(1, MOST_WINDOWS + 3):
        timeline.add(scores(rank), EVENTS, 1.0, {})
    assert ranks_of(timeline)[:2] == [1.5, 3.5], "means of pairs"
    assert ranks_of(timeline)[-1] == MOST_WINDOWS + 1.5


def test_a_rest_too_small_for_figures_is_a_part_of_the_window_before() -> None:
    timeline = Timeline()
    for rank, events in ((1, EVENTS), (2, EVENTS), (9, 2)):
        timeline.add(scores(rank), events, 1.0, {})
    assert ranks_of(timeline) == [1, 5.5]
    assert [window.events for window in timeline.windows] == [10, 12]
    timeline.add(scores(7), EVENTS, 1.0, {})
    assert ranks_of(timeline) == [1, 2, 9, 7], "asking changes nothing"


def test_regret_is_summed_over_all_targets_until_each_window() -> None:
    timeline = Timeline()
    timeline.add(scores(3, mixed=5), EVENTS, 1.0, {})
    timeline.add(scores(3, mixed=4), EVENTS, 1.0, {})
    timeline.add(scores(3, mixed=1), EVENTS, 1.0, {})
    windows = timeline.to_json()
    assert [window["until"] for window in windows] == [10, 20, 30]
    regrets = [window["total_regret"] for window in windows]
    assert [one["all"]["log_loss"] for one in regrets] == pytest.approx([2, 3, 1])  # type: ignore[index]


def test_a_run_without_a_batch_has_no_window() -> None:
    assert not Timeline().windows
    assert not Timeline().to_json()
