"""Figures of lists, and shares of groups, as Prometheus has them; the number of series is bounded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from consumers.learn import list_metrics
from consumers.learn.list_metrics import MOST_GROUPS, ListMetrics
from pipeline.config import StreamConfig
from pipeline.evaluation.lists import CUTOFF, LEAST_NEW_LISTS, Lists
from pipeline.events import Item
from pipeline.metrics import Series, value_of
from pipeline.state.stream import StreamState

ITEMS = 30


@pytest.fixture
def stream() -> StreamState:
    """Each item is a category of its own."""
    made = StreamState(StreamConfig())
    made.ingest([Item(item=f"i{n}", title="a cup", category=f"c{n:02}") for n in range(ITEMS)])
    return made


def lists(amount: int) -> Lists:
    rows = np.tile(np.arange(CUTOFF) + 10, (amount, 1))
    users = np.arange(amount)
    return Lists(users, rows, np.full(amount, 0.25), users % 3)


def test_figures_are_measured_once_there_are_enough(
    stream: StreamState, exposed: Callable[[], Series]
) -> None:
    measured = ListMetrics(None)
    measured.add(lists(LEAST_NEW_LISTS - 1), stream)
    before = exposed()
    measured.add(lists(1), stream)
    after = exposed()
    assert value_of(before, "millstream_list_quality", figure="n") != LEAST_NEW_LISTS
    assert value_of(after, "millstream_list_quality", figure="n") == LEAST_NEW_LISTS
    assert value_of(after, "millstream_list_quality", figure="diversity@20") == 0.25
    assert value_of(after, "millstream_list_quality", figure="coverage@20") == pytest.approx(20 / ITEMS)


def test_groups_beyond_the_first_are_one(stream: StreamState, exposed: Callable[[], Series]) -> None:
    ListMetrics("category").add(lists(3 * LEAST_NEW_LISTS), stream)
    after = exposed()
    groups = {dict(labels)["group"] for name, labels in after if name == "millstream_group_share"}
    assert len(groups) == MOST_GROUPS + 1
    assert value_of(after, "millstream_group_share", group="c01", of="acted_on") == pytest.approx(1 / 3)
    assert value_of(after, "millstream_group_share", group="c01", of="shown") == 0
    assert value_of(after, "millstream_group_share", group="other", of="shown") == pytest.approx(3 / 20)


def test_an_attribute_that_no_item_has_is_logged_once(
    stream: StreamState, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_metrics, "LEAST_ITEMS", ITEMS + 1)
    measured = ListMetrics("categry")
    measured.add(lists(LEAST_NEW_LISTS), stream)
    assert not caplog.messages, "too few items"
    monkeypatch.setattr(list_metrics, "LEAST_ITEMS", ITEMS)
    for _ in range(2):
        measured.add(lists(LEAST_NEW_LISTS), stream)
    (line,) = caplog.messages
    assert "metrics.group = 'categry'" in line and "Did you mean 'category'?" in line
