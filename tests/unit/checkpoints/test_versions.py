"""A version is known if the journal or a checkpoint holds it; another one is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.checkpoints.versions import check_known
from pipeline.config.log import HOUR_MS
from pipeline.errors import OffsetsExpired, VersionUnknown
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.snapshots.version import Version
from tests.support.model_harness import ModelHarness


def check(harness: ModelHarness, version: str) -> None:
    check_known(harness.log, harness.topics, harness.checkpoints.folder, Version.parse(version))


@pytest.mark.parametrize("checkpointed", [False, True])
def test_every_version_of_the_journal_is_known(harness: ModelHarness, checkpointed: bool) -> None:
    with harness.busy() as learning:
        if checkpointed:
            learning.checkpoint()
        harness.roll_back("1-1")
        learning.new()
        newest = learning.position.version
    assert newest.startswith("2-")
    for version in ("1-0", "1-1", "1-3", "2-2", newest):
        check(harness, version)


@pytest.mark.parametrize(("version", "before"), [("0-9", "none"), ("1-4", "1-3"), ("9-0", "1-3")])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_another_version_is_refused_with_the_one_before_it(
    harness: ModelHarness, version: str, before: str, checkpointed: bool
) -> None:
    with harness.busy() as learning:
        if checkpointed:
            learning.checkpoint()
    with pytest.raises(VersionUnknown, match=f"version {version} was never learned, .* hold {before};"):
        check(harness, version)


def test_before_anything_was_learned_no_version_is_known(harness: ModelHarness) -> None:
    with pytest.raises(VersionUnknown, match="hold none"):
        check(harness, "1-0")


def test_a_checkpoint_is_known_until_the_journal_after_it_has_expired(
    harness: ModelHarness, tmp_path: Path
) -> None:
    with harness.busy() as learning:
        learning.checkpoint()
        old = learning.position.version
        learning.new(1)
        learning.checkpoint()
        new = learning.position.version
    later = harness.records(harness.topics.journal)[-1].append_time
    later += int(harness.settings.log.retention_hours * HOUR_MS) + 1
    with SqliteLog(tmp_path / "log.db", lambda: later) as log:
        log.upkeep()
        check_known(log, harness.topics, harness.checkpoints.folder, Version.parse(new))
        with pytest.raises(OffsetsExpired, match=harness.topics.journal):
            check_known(log, harness.topics, harness.checkpoints.folder, Version.parse(old))
