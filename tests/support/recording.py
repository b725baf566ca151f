"""Record what this release writes, so that later ones prove that they read it.

``python -m tests.support.recording 0.3.0`` makes ``tests/recorded/0.3.0``: log, checkpoint and snapshot of a
tiny model, its language model, and what they hold in `facts.json`.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import orjson

from pipeline.checkpoints.manifest import FORMAT as CHECKPOINT_FORMAT
from pipeline.config import Settings
from pipeline.eventlog.sqlite.database import FORMAT as LOG_FORMAT
from pipeline.journal.entry import FORMAT as JOURNAL_FORMAT
from pipeline.snapshots.filesystem import FORMAT as SNAPSHOT_FORMAT
from tests.support.model_harness import ModelHarness, tiny_settings
from tests.support.tiny_backbone import tiny_backbone

RECORDED = Path(__file__).parents[1] / "recorded"
FORMATS = {
    "log": LOG_FORMAT,
    "journal": JOURNAL_FORMAT,
    "checkpoint": CHECKPOINT_FORMAT,
    "snapshot": SNAPSHOT_FORMAT,
}
ACTS, LEARNED_BATCHES = 60, 2
FOREVER_HOURS = 24 * 3_660.0
"""Retention of the recorded log: it is read as long as the policy asks for it."""


def recorded_settings(folder: Path) -> Settings:
    """Settings of the model of a recording, with all its files in a folder."""
    settings = tiny_settings(folder, folder / "backbone")
    log = settings.log.replace(retention_hours=FOREVER_HOURS, compaction_lag_hours=FOREVER_HOURS)
    return settings.model_copy(update={"log": log})


def record(folder: Path) -> None:
    """Make a recording in a new folder."""
    tiny_backbone(folder / "backbone")
    with ModelHarness(recorded_settings(folder)) as harness:
        harness.stock()
        harness.shop(ACTS)
        harness.act("ann", "red-cup", rating=4.0)
        harness.show("ann", "red-cup", "blue-pot", name="shown-1")
        with harness.learning() as learning:
            learning.new(LEARNED_BATCHES)
            manifest = learning.publish(harness.publisher())
            facts = {
                "formats": FORMATS,
                "events": len(harness.records(harness.topics.interactions)),
                "items": len(learning.learner.stream.catalogue),
                "users": len(learning.learner.stream.histories),
                "checkpoint": {"version": learning.position.version, "digest": learning.checkpoint()},
                "snapshot": {"version": str(manifest.version), "events": manifest.events},
            }
            learning.journal_only()
    (folder / "facts.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")
    shutil.rmtree(folder / "cache")
    _pack(folder / "log.db")


def _pack(log: Path) -> None:
    """Leave one small file of a log."""
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")


if __name__ == "__main__":
    target = RECORDED / sys.argv[1]
    with tempfile.TemporaryDirectory() as made:
        record(Path(made))
        shutil.copytree(made, target, dirs_exist_ok=False)
    sys.stdout.write(f"{target} is recorded\n")
