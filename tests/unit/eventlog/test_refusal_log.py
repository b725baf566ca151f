"""The first refusal of each reason is in the log at once, the others as rates; no value ever is."""

from __future__ import annotations

import logging

import pytest

from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.intake import dead_letter, interaction_of
from pipeline.eventlog.port import Record
from pipeline.eventlog.refusal_log import RATE_SECONDS, RISE_FROM, RISE_TIMES, RefusalLog


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def record(offset: int, value: bytes) -> Record:
    return Record("shop.interactions", 3, offset, 1_700_000_000_000, "secret-user", value)


def refused(value: bytes) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        interaction_of(record(0, value))
    return caught.value


NUMERIC = b'{"v":1,"kind":"interaction","event_id":"e","user":"secret-user","item":5,"type":"view","time":1}'


def test_the_first_of_each_reason_is_written_at_once_and_the_rest_by_the_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    refusals = RefusalLog("learn", clock)
    with caplog.at_level(logging.WARNING):
        for offset in range(1_000):
            refusals.add(record(offset, NUMERIC), refused(NUMERIC))
        refusals.add_letters([dead_letter(record(1_000, b"bad"), refused(b"bad"))])
        refusals.settle()
    first, rise, other = caplog.messages
    assert rise.startswith(
        "refusals rise: 100 in 0 s (numeric_id 100), 0 in the minute before; the last was "
    )
    assert "shop.interactions/3/100; see `millstream dead-letters list`" in rise
    assert first.startswith("first refusal of reason numeric_id: shop.interactions/3/0, field 'item'")
    assert "send it as a string" in first
    assert other.startswith("first refusal of reason not_json: shop.interactions/3/1000, field 'event'")
    assert "secret-user" not in caplog.text
    caplog.clear()
    clock.now = RATE_SECONDS
    refusals.settle()
    refusals.settle()
    (rates,) = caplog.messages
    assert rates == "refused in the last 60 s: numeric_id 999; the last was shop.interactions/3/999"


def test_a_rise_is_written_once_a_minute_and_measured_by_the_minute_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    refusals = RefusalLog("learn", clock)

    def minute(number: int) -> list[str]:
        """Refuse so many; the rises that were written."""
        caplog.clear()
        for offset in range(number):
            refusals.add(record(offset, NUMERIC), refused(NUMERIC))
        clock.now += RATE_SECONDS
        refusals.settle()
        return [line for line in caplog.messages if line.startswith("refusals rise")]

    assert minute(RISE_FROM) == []  # the first of them is said on its own
    assert minute(RISE_TIMES * (RISE_FROM - 1) - 1) == []
    assert len(minute(20 * RISE_TIMES * RISE_FROM)) == 1
    assert minute(RISE_FROM) == []
    assert minute(1) == []
    assert len(minute(2 * RISE_FROM)) == 1


def test_a_quiet_minute_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = RefusalLog("learn", clock)
    clock.now = 2 * RATE_SECONDS
    refusals.settle()
    assert not caplog.records


def test_a_hostile_field_name_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    error = InvalidEvent("x\nERROR: forged", "not permitted", RefusalReason.UNKNOWN_FIELD)
    RefusalLog("learn").add(record(1, b""), error)
    assert "\n" not in caplog.messages[0]
