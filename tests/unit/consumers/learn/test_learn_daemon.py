"""The learn daemon goes on whenever log and storage are back, and says once why it pauses."""

from __future__ import annotations

from threading import Event

import pytest

from consumers.learn import daemon
from consumers.learn.daemon import LearnDaemon
from pipeline.errors import StorageUnavailable
from tests.support.model_harness import ModelHarness


def test_a_pause_is_told_once_for_each_reason(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reasons, stop = ["the store is away", "the store is away", "no room"], Event()

    def learn(_: LearnDaemon) -> None:
        if reasons:
            raise StorageUnavailable(reasons.pop(0))
        stop.set()

    monkeypatch.setattr(daemon, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(LearnDaemon, "learn", learn)
    LearnDaemon(harness.settings, harness.log, harness.topics, stop).run()
    pauses = [message for message in caplog.messages if message.startswith("learning pauses")]
    assert pauses == ["learning pauses: the store is away", "learning pauses: no room"]
