"""What releases before wrote is read: log, journal, checkpoint, snapshot, as docs/upgrades.md promises."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from packaging.version import Version as Release

from consumers.serve.state.loaded_snapshot import SnapshotLoader
from pipeline.eventlog.intake import impression_of, interaction_of, item_of
from pipeline.journal.entry import Verb, read_journal
from pipeline.model.backbone import load_backbone
from pipeline.snapshots.version import Version
from tests.support.model_harness import ModelHarness
from tests.support.recording import FORMATS, RECORDED, recorded_settings

RELEASES = sorted((path.name for path in RECORDED.iterdir()), key=Release)


@pytest.fixture(params=RELEASES)
def facts(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """A copy of a recording in the test's folder; what it holds."""
    shutil.copytree(RECORDED / request.param, tmp_path, dirs_exist_ok=True)
    found: dict[str, Any] = orjson.loads((tmp_path / "facts.json").read_bytes())
    return found


@pytest.fixture
def harness(facts: dict[str, Any], tmp_path: Path) -> Iterator[ModelHarness]:
    with ModelHarness(recorded_settings(tmp_path)) as opened:
        yield opened


def test_the_newest_recording_is_of_the_formats_of_now() -> None:
    facts = orjson.loads((RECORDED / RELEASES[-1] / "facts.json").read_bytes())
    assert facts["formats"] == FORMATS, "a format has changed: record it, and keep reading the one before"


def test_a_recorded_log_is_read(facts: dict[str, Any], harness: ModelHarness) -> None:
    topics = harness.topics
    acts = [interaction_of(record) for record in harness.records(topics.interactions)]
    assert len(acts) == facts["events"]
    assert len([item_of(record) for record in harness.records(topics.items)]) == facts["items"]
    (shown,) = [impression_of(record) for record in harness.records(topics.impressions)]
    assert shown.user == "ann"
    entries = [entry for entry, _ in read_journal(harness.log, topics.journal)]
    assert [entry.verb for entry in entries] == [Verb.START, Verb.LEARN, Verb.LEARN, Verb.LEARN]
    assert entries[-2].version == facts["checkpoint"]["version"]


def test_a_recorded_log_is_written_on(facts: dict[str, Any], harness: ModelHarness) -> None:
    harness.act("bob", "red-cup", event_id="later")
    acts = [interaction_of(record) for record in harness.records(harness.topics.interactions)]
    assert (len(acts), acts[-1].event_id in {act.event_id for act in acts}) == (facts["events"] + 1, True)


def test_a_learner_goes_on_from_a_recorded_checkpoint(facts: dict[str, Any], harness: ModelHarness) -> None:
    with harness.learning() as learning:
        assert learning.position.version == facts["checkpoint"]["version"]
        stream = learning.learner.stream
        assert (len(stream.catalogue), len(stream.histories)) == (facts["items"], facts["users"])
        if facts["formats"] == FORMATS:
            assert learning.digest() == facts["checkpoint"]["digest"]
        assert len(learning.recover()) == 1, "the batch that the journal names after it"
        harness.act("bob", "red-cup", event_id="later")
        assert learning.new()


def test_a_server_loads_a_recorded_snapshot(facts: dict[str, Any], harness: ModelHarness) -> None:
    version = Version.parse(facts["snapshot"]["version"])
    settings = harness.settings
    backbone = load_backbone(settings.model.backbone, settings.model.cache)
    loaded = SnapshotLoader.of(settings, backbone).load(version)
    assert loaded.manifest.events == facts["snapshot"]["events"]
    assert len(loaded.rows) == facts["items"]


def test_the_page_names_the_formats_of_now() -> None:
    page = (RECORDED.parents[1] / "docs" / "upgrades.md").read_text()
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    written = {row[0].removeprefix("SQLite ").removesuffix(" entry"): row[1] for row in cells[1:]}
    assert {name: int(written[name]) for name in FORMATS} == FORMATS
