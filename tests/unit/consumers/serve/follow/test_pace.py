"""A pace: quick things at once, slow ones rarely, and none forgotten."""

from __future__ import annotations

import pytest

from consumers.serve.follow.pace import QUICK_SECONDS, REST, Pace


class Work:
    """Something that takes some seconds of a clock of its own."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now, self.done = seconds, 100.0, list[float]()

    def clock(self) -> float:
        return self.now

    def do(self) -> None:
        self.now += self.seconds
        self.done.append(self.now)


def test_what_is_quick_is_done_for_each_reason() -> None:
    work = Work(QUICK_SECONDS / 2)
    pace = Pace(work.do, work.clock)
    for has_reason in (True, False, True, True):
        pace.when_due(has_reason)
    assert len(work.done) == 3


@pytest.mark.parametrize("seconds", [QUICK_SECONDS * 2, 5.0])
def test_what_is_slow_rests_and_is_done_once_for_all_reasons_since(seconds: float) -> None:
    work = Work(seconds)
    pace = Pace(work.do, work.clock)
    pace.when_due(True)
    for _ in range(5):
        pace.when_due(True)
    assert len(work.done) == 1
    work.now += REST * seconds
    for _ in range(5):
        pace.when_due(False)
    assert len(work.done) == 2, "once, though there is no new reason"


def test_what_must_be_done_now_is_for_all_reasons_before() -> None:
    work = Work(5.0)
    pace = Pace(work.do, work.clock)
    pace.now()
    pace.when_due(True)
    pace.now()
    work.now += REST * 5.0
    pace.when_due(False)
    assert len(work.done) == 2
