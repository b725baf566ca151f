"""The learn daemon goes on after a gap only if that is accepted, and then as if nothing had come before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from consumers.audit.audit import audit
from consumers.learn.daemon import LearnDaemon
from pipeline import metrics
from pipeline.checkpoints.capture import capture
from pipeline.config import Settings
from pipeline.control.records import Gap
from pipeline.errors import CheckpointCorrupt, RecordsLost, TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.port import read_compacted
from pipeline.journal import gap
from pipeline.journal.entry import read_journal
from pipeline.snapshots.history_records import read_history_record
from tests.support.model_harness import USERS, ModelHarness
from tests.support.serve_tools import wait_until


def accepting(settings: Settings) -> Settings:
    return settings.model_copy(update={"log": settings.log.model_copy(update={"accept_gap": True})})


def learn(harness: ModelHarness, settings: Settings, until: Callable[[], bool] | None = None) -> None:
    """Run a learn daemon until it has learned everything, or until something else is true."""
    stop = Event()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(lambda: LearnDaemon(settings, harness.log, harness.topics, stop).run())
        try:
            wait_until(lambda: running.done() or (until or (lambda: caught_up(harness)))())
        finally:
            stop.set()
        running.result()


def caught_up(harness: ModelHarness) -> bool:
    entries = [entry for entry, _ in read_journal(harness.log, harness.topics.journal)]
    return bool(entries) and entries[-1].offsets == harness.log.end_offsets(harness.topics.inputs)


def made_again(harness: ModelHarness, folder: Path) -> ModelHarness:
    """The same model with an empty log in place of the old one."""
    harness.__exit__()
    (folder / "log.db").rename(folder / "old.db")
    return ModelHarness(harness.settings)


def test_a_log_made_again_stops_the_learner_until_that_is_accepted(
    harness: ModelHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap, "PATIENCE_SECONDS", 0.0)
    harness.stock()
    harness.shop(40)
    learn(harness, harness.settings)
    before = harness.store.versions()[-1]
    with made_again(harness, tmp_path) as again:
        again.act("ann", *["red-cup"] * 80)
        with pytest.raises(RecordsLost, match="was deleted and made again"):
            learn(again, again.settings)
        counted = metrics.GAPS.labels(again.topics.interactions)._value.get()
        learn(again, accepting(again.settings))
        assert metrics.GAPS.labels(again.topics.interactions)._value.get() == counted + 1
        (gap_record,) = again.published(Gap)
        assert (gap_record.left, gap_record.lost) == (str(before), 0)
        assert "mill.interactions was deleted and made again" in gap_record.reason
        newest = again.store.versions()[-1]
        assert newest.generation == before.generation + 1
        with pytest.raises(CheckpointCorrupt, match=r"begin later: `millstream rebuild --from 2-\d+`"):
            again.rebuilt()
        checks = audit(again.log, again.topics, again.settings)
        assert [check for check in checks if check.findings] == [], "it begins after the gap"
        manifest = again.store.load(newest).manifest
        ends = again.log.end_offsets([again.topics.interactions])
        assert all(manifest.offsets[str(source)] == end for source, end in ends.items())
        assert manifest.topic_ids == again.log.topic_ids([again.topics.items, again.topics.interactions])
        histories = {
            user: read_history_record(user, record.value or b"")
            for user, record in read_compacted(again.log, again.topics.histories).items()
        }
    assert set(histories) == set(USERS), "each again, with an offset of the new topic"
    assert all(end == 0 for user, (_, end, _) in histories.items() if user != "ann")


def test_a_checkpoint_that_stands_beyond_the_log_gives_way_to_the_one_before(
    harness: ModelHarness, caplog: pytest.LogCaptureFixture
) -> None:
    with harness.busy(batches=2) as learning:
        learning.checkpoint()
        learning.new(1)
        learning.checkpoint()
        version, position = learning.position.version, learning.position
        beyond = replace(position, offsets={source: at + 10**6 for source, at in position.offsets.items()})
        state = capture(learning.learner, learning.supervisor, beyond)
        harness.checkpoints.write_to(harness.checkpoints.folder / version, state)
    learn(harness, harness.settings)
    assert f"checkpoint {version} does not stand where the journal says" in caplog.text
    newest = str(harness.checkpoints.versions()[-1])
    assert newest != version
    assert harness.checkpoints.digests()[newest] == harness.rebuilt().digest, "learned again, and not skipped"


@pytest.mark.parametrize("has_topics", [True, False])
def test_what_memory_alone_has_outlasts_the_stop_beside_a_log_made_again(
    harness: ModelHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_topics: bool
) -> None:
    monkeypatch.setattr(gap, "PATIENCE_SECONDS", 0.0)
    harness.stock()
    harness.shop(40)

    def replaces() -> bool:
        if not (tmp_path / "old-log.db").exists() and caught_up(harness):
            assert not harness.checkpoints.versions()
            for file in tmp_path.glob("log.db*"):
                file.rename(file.with_name(f"old-{file.name}"))
            with open_log(harness.settings.log.url) as log:
                if has_topics:
                    harness.topics.create(log, *harness.settings.log.topic_sizes)
        return False

    with pytest.raises(RecordsLost if has_topics else TopicError):
        learn(harness, harness.settings, until=replaces)
    with ModelHarness(harness.settings) as again:
        (kept,) = again.checkpoints.versions()
        learn(again, accepting(again.settings))
        assert again.store.versions()[-1].generation == kept.generation + 1
        assert len(read_compacted(again.log, again.topics.histories)) == len(USERS)
