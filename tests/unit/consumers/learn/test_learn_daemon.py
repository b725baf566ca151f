"""The learn daemon goes on whenever log and storage are back, says once why it pauses, and refuses early."""

from __future__ import annotations

import os
from threading import Event

import pytest

from consumers.learn import daemon, unused_names
from consumers.learn.daemon import LearnDaemon
from pipeline import metrics
from pipeline.errors import InvalidSettings, StorageUnavailable
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


def test_a_learner_stands_back_for_servers(harness: ModelHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, lowered = Event(), list[int]()
    stop.set()
    monkeypatch.setattr(daemon, "stop_requested", lambda: stop)
    monkeypatch.setattr(metrics, "serve_metrics", lambda *_: None)
    monkeypatch.setattr(metrics, "watch_free_space", lambda _: None)
    monkeypatch.setattr(os, "nice", lowered.append)
    batch = harness.settings.batch.replace(nice=7)
    daemon.run(harness.settings.model_copy(update={"batch": batch}))
    assert lowered == [7]


def test_a_store_that_cannot_be_opened_is_refused_before_the_journal_is_touched(
    harness: ModelHarness,
) -> None:
    snapshots = harness.settings.snapshots.replace(store="foo://x")
    settings = harness.settings.model_copy(update={"snapshots": snapshots})
    with pytest.raises(InvalidSettings, match="snapshots.store: foo://"):
        LearnDaemon(settings, harness.log, harness.topics, Event()).run()
    assert harness.records(harness.topics.journal) == []


def test_a_name_that_no_item_has_is_said_once_all_is_learned(
    harness: ModelHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness.stock()
    stop, warn = Event(), LearnDaemon._look_for_names

    def warn_and_stop(self: LearnDaemon) -> None:
        warn(self)
        stop.set()

    monkeypatch.setattr(unused_names, "LEAST", 1)
    monkeypatch.setattr(LearnDaemon, "_look_for_names", warn_and_stop)
    sizes = harness.settings.learn.sizes.replace(attributes=("brnad",))
    settings = harness.settings.model_copy(update={"learn": harness.settings.learn.replace(sizes=sizes)})
    LearnDaemon(settings, harness.log, harness.topics, stop).run()
    (warning,) = [message for message in caplog.messages if "misspelt" in message]
    assert warning.startswith("learn.sizes.attributes names 'brnad': none of ")
