"""Checkpoints give back the whole learner, or say that they are damaged and let an older one do it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.manifest import FORMAT, MANIFEST, WITHOUT_OUTCOMES, CheckpointManifest
from pipeline.checkpoints.state import OUTCOMES
from pipeline.checkpoints.store import KEEP_LAST, restore_from
from pipeline.config import Settings
from pipeline.errors import CheckpointCorrupt, InvalidSettings
from pipeline.sealing import seal, unseal
from tests.support.checkpoint_tools import (
    born,
    checkpointed_twice,
    restored,
    version,
    with_fewer_tokens,
    with_other_weights,
)
from tests.support.damage import flip_a_bit
from tests.support.model_harness import PREFIX, ModelHarness

HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def folder(harness: ModelHarness) -> Path:
    return harness.settings.checkpoints.folder / PREFIX


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_a_restored_learner_has_the_same_state_and_the_same_future(harness: ModelHarness) -> None:
    harness.stock()
    harness.shop(90)
    with harness.learning() as first:
        first.new(3)
        written = first.checkpoint()
        first.new(3)
        future = first.digest()
    with harness.learning() as second:
        assert version(second.position) == "1-3"
        assert second.digest() == written
        assert len(second.recover()) == 3
        assert second.digest() == future != written


def test_a_checkpoint_says_what_it_is(harness: ModelHarness, folder: Path) -> None:
    _, digest = checkpointed_twice(harness)
    manifest = CheckpointManifest.model_validate_json(
        unseal((folder / "1-4" / MANIFEST).read_bytes(), FORMAT)
    )
    assert (manifest.generation, manifest.step, manifest.digest) == (1, 4, digest)
    assert manifest.journal == 5, "four batches and the entry that began the journal"
    assert {path.name for path in (folder / "1-4").iterdir()} == {MANIFEST, *manifest.files}
    assert harness.checkpoints.digests()["1-4"] == digest


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (with_other_weights, r"checkpoint 1-1: model\.backbone is sha256 \w{12}… in the settings and"),
        (with_fewer_tokens, r"checkpoint 1-1: model\.max_tokens is 3 in the settings and 24 in it"),
    ],
)
def test_a_learner_that_reads_texts_otherwise_does_not_go_on(
    harness: ModelHarness, changed: Callable[[Settings], Settings], named: str
) -> None:
    with harness.busy(batches=1, acts=48) as first:
        first.checkpoint()
    with pytest.raises(InvalidSettings, match=named) as refused, harness.learning(changed(harness.settings)):
        pass
    assert str(refused.value).endswith("set it back, or begin another model with another log.prefix")
    with harness.learning() as second:
        assert version(second.position) == "1-1", "the checkpoint is as it was"


def test_a_checkpoint_from_before_it_said_how_texts_are_read_is_read(
    harness: ModelHarness, folder: Path
) -> None:
    checkpointed_twice(harness)
    path = folder / "1-4" / MANIFEST
    manifest = orjson.loads(unseal(path.read_bytes(), FORMAT))
    del manifest["backbone"], manifest["max_tokens"]
    path.write_bytes(seal(orjson.dumps(manifest), FORMAT))
    assert version(restored(harness)) == "1-4"


def test_there_is_nothing_to_restore_at_first(harness: ModelHarness) -> None:
    assert restored(harness) is None


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, Path.unlink])
@pytest.mark.parametrize(
    "file",
    ["learned.safetensors", "table.safetensors", "catalogue.json", "outcomes.jsonl", "seen-3.safetensors"],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    harness: ModelHarness,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    file: str,
    damage: Callable[[Path], None],
) -> None:
    older, _ = checkpointed_twice(harness)
    damage(folder / "1-4" / file)
    learner, supervisor = harness.learner(), harness.supervisor()
    position = harness.checkpoints.restore(learner, supervisor)
    assert position is not None and version(position) == "1-2"
    assert harness.checkpoints.digest(capture(learner, supervisor, position)) == older
    assert "checkpoint 1-4" in caplog.text and "trying the one before it" in caplog.text


def test_an_empty_folder_is_left_alone_quietly(
    harness: ModelHarness, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpointed_twice(harness)
    (folder / "9-99").mkdir()
    assert version(restored(harness)) == "1-4"
    assert [str(one) for one in harness.checkpoints.versions()] == ["1-2", "1-4"]
    assert caplog.messages == []
    (folder / "9-99" / "learned.safetensors").touch()
    assert version(restored(harness)) == "1-4"
    assert "9-99" in caplog.text, "what is left of a checkpoint is said"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format":', b"\xff"])
def test_a_damaged_manifest_gives_way_to_the_one_before(
    harness: ModelHarness, folder: Path, content: bytes
) -> None:
    checkpointed_twice(harness)
    (folder / "1-4" / MANIFEST).write_bytes(content)
    assert version(restored(harness)) == "1-2"


def test_a_checkpoint_from_before_outcomes_is_read(harness: ModelHarness, folder: Path) -> None:
    checkpointed_twice(harness)
    path = folder / "1-4" / MANIFEST
    manifest = orjson.loads(unseal(path.read_bytes(), FORMAT))
    del manifest["files"][OUTCOMES]
    path.write_bytes(seal(orjson.dumps(manifest), WITHOUT_OUTCOMES))
    (folder / "1-4" / OUTCOMES).unlink()
    assert version(restored(harness)) == "1-4"


@pytest.mark.parametrize("other", [WITHOUT_OUTCOMES - 1, FORMAT + 1])
def test_another_format_is_refused_with_both_versions(
    harness: ModelHarness, folder: Path, caplog: pytest.LogCaptureFixture, other: int
) -> None:
    checkpointed_twice(harness)
    path = folder / "1-4" / MANIFEST
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "format": other}))
    refusal = (
        f"checkpoint 1-4 cannot be read: it has format {other}, and this millstream reads format {FORMAT}"
    )
    with pytest.raises(CheckpointCorrupt, match=refusal):
        restore_from(folder / "1-4", harness.learner(), harness.supervisor())
    assert version(restored(harness)) == "1-2"
    assert re.search(refusal, caplog.text)


def test_an_old_manifest_with_other_fields_is_refused_by_its_format(
    harness: ModelHarness, folder: Path
) -> None:
    checkpointed_twice(harness)
    (folder / "1-4" / MANIFEST).write_bytes(orjson.dumps({"format": FORMAT - 1, "another": "field"}))
    with pytest.raises(CheckpointCorrupt, match=f"has format {FORMAT - 1}.* reads format {FORMAT}"):
        restore_from(folder / "1-4", harness.learner(), harness.supervisor())
    assert harness.checkpoints.digests().keys() == {"1-2"}


def test_a_state_without_a_supervisor_can_be_adopted_and_not_resumed(harness: ModelHarness) -> None:
    checkpointed_twice(harness)
    position = restored(harness)
    assert position is not None
    folder = harness.candidate("one", capture(harness.learner(), None, position))
    assert restore_from(folder, harness.learner(), None) == position
    with pytest.raises(CheckpointCorrupt, match="holds no supervisor"):
        restore_from(folder, harness.learner(), harness.supervisor())


def test_a_write_that_was_torn_off_is_not_there_and_goes_with_the_next(
    harness: ModelHarness, folder: Path
) -> None:
    checkpointed_twice(harness)
    torn = folder / ".1-9.part"
    (folder / "1-4").rename(torn)
    assert version(restored(harness)) == "1-2"
    harness.checkpoints.write(born(harness, 10))
    assert not torn.exists()


def test_the_newest_is_found_by_number_and_not_by_name(harness: ModelHarness) -> None:
    for step in (9, 10):
        harness.checkpoints.write(born(harness, step))
    assert version(restored(harness)) == "1-10"


def test_equal_states_have_equal_digests(harness: ModelHarness) -> None:
    first, second = (harness.checkpoints.write(born(harness, step)) for step in (1, 2))
    assert first.digest == second.digest == harness.checkpoints.digest(born(harness, 3))


def test_a_checkpoint_may_be_written_again(harness: ModelHarness) -> None:
    for _ in range(2):
        harness.checkpoints.write(born(harness, 1))
    assert version(restored(harness)) == "1-1"


def test_the_last_are_kept_and_of_older_ones_one_an_hour_and_one_a_day(
    harness: ModelHarness, folder: Path
) -> None:
    captured, checkpoints = born(harness, 10_000), harness.checkpoints
    now = time.time()
    ages = [*(minutes * 60.0 for minutes in range(0, 3 * 24 * 60, 10)), *(day * DAY for day in range(4, 50))]
    written = {}
    for step, age in enumerate(sorted(ages, reverse=True)):
        path = folder / f"1-{step}" / MANIFEST
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (now - age, now - age))
        written[f"1-{step}"] = now - age
    checkpoints.write(captured)
    kept = {path.name for path in folder.iterdir()} - {"1-10000"}
    latest = list(written)[1 - KEEP_LAST :]
    times = sorted(written[name] for name in kept)
    assert set(latest) <= kept
    assert len(kept) <= KEEP_LAST + 24 + 30
    for hour in range(1, 23):
        assert any(now - hour * HOUR - HOUR <= time <= now - hour * HOUR for time in times)
    for day in range(1, 28):
        assert any(now - day * DAY - DAY <= time <= now - day * DAY for time in times)
    assert times[0] > now - 31 * DAY
