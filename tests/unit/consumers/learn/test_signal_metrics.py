"""Acts are counted by what they say; that none says anything good is logged once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consumers.learn.signal_metrics import SignalMetrics
from pipeline.config import SignalsConfig
from pipeline.events import Interaction, InteractionType
from pipeline.metrics import Series, value_of


def acts(type: InteractionType, count: int, value: float | None = None) -> list[Interaction]:
    return [
        Interaction(event_id=str(n), user="u", item="a", type=type, value=value, time=1 << 40)
        for n in range(count)
    ]


def test_acts_that_teach_nothing_are_logged_once(
    exposed: Callable[[], Series], caplog: pytest.LogCaptureFixture
) -> None:
    measured, before = SignalMetrics(SignalsConfig()), exposed()
    for count in (60, 60, 60):
        measured.add(acts(InteractionType.RATING, count, 1.0))
    measured.add(acts(InteractionType.VIEW, 2))
    name = "millstream_signs_total"
    added = {
        sign: value_of(exposed(), name, sign=sign) - value_of(before, name, sign=sign)
        for sign in ("positive", "negative", "none")
    }
    assert added == {"positive": 2, "negative": 180, "none": 0}
    (line,) = caplog.messages
    assert line.startswith("none of 120 acts says anything good of its item, so nothing is learned")
