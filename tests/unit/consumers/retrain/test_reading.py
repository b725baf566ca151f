"""What a retrain waits for is in its log: a person off a terminal sees how long it may take."""

from __future__ import annotations

import logging

import pytest

from consumers.retrain.reading import WaitingProgress


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_what_is_awaited_is_logged_at_first_and_at_every_tenth(lines: pytest.LogCaptureFixture) -> None:
    awaited = WaitingProgress("to compare on", needed=5_000, begin=300, now=300)
    for now in (300, 301, 799, 800, 1_299, 5_000):
        awaited.now = now
        awaited.report()
    left = [message.split(" learned ")[1].split(" more ")[0] for message in lines.messages]
    assert left == ["5,000", "4,500", "300"]
    assert all("a running `millstream learn`" in message for message in lines.messages)
    assert all(message.endswith("interactions, to compare on") for message in lines.messages)


def test_what_came_before_the_first_of_them_does_not_count() -> None:
    assert WaitingProgress("to train on", needed=10, begin=7, now=5).learned == 0
