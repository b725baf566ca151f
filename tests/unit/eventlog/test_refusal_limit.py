"""A stream of which nearly everything is refused is read no further."""

from __future__ import annotations

import logging

import pytest

from pipeline.config import RefusalsConfig
from pipeline.errors import InvalidEvent, RefusalReason
from pipeline.eventlog.intake import dead_letter
from pipeline.eventlog.port import Record
from pipeline.eventlog.refusal_limit import RefusalLimit

ERROR = InvalidEvent("event", "not JSON", RefusalReason.NOT_JSON)


def letters(number: int) -> list[tuple[str, bytes]]:
    return [dead_letter(Record("shop.items", 0, offset, 1, "k", b"x"), ERROR) for offset in range(number)]


def limit(share: float = 0.5, window: int = 20) -> RefusalLimit:
    return RefusalLimit("learn", RefusalsConfig(most_share=share, window_records=window), "mend it")


def exceeded(found: RefusalLimit, *batches: tuple[int, int]) -> bool:
    for records, refused in batches:
        found.add(records, letters(refused))
    return found.is_exceeded


def test_a_share_of_the_window_is_allowed_and_more_is_not() -> None:
    assert not exceeded(limit(), (10, 5), (10, 5))
    assert exceeded(limit(), (10, 5), (10, 6))


def test_nothing_is_decided_before_the_window_is_full() -> None:
    assert not exceeded(limit(), (19, 19))


def test_what_was_refused_long_ago_does_not_count() -> None:
    assert not exceeded(limit(), (5, 5), (20, 10))
    assert not exceeded(limit(), (10, 10), (10, 0), (10, 5), (10, 5))


def test_a_share_of_one_is_no_limit() -> None:
    assert not exceeded(limit(1.0), (100, 100))


def test_it_says_once_what_was_refused_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    found = limit()
    with caplog.at_level(logging.ERROR):
        exceeded(found, (20, 15), (20, 20), (20, 0))
    (line,) = caplog.messages
    assert line.startswith("learn reads nothing more: of the last 20 records, 15 were refused (not_json 15)")
    assert "shop.items/0/14 the last" in line and line.endswith("mend it")
    assert found.is_exceeded, "a person decides"
