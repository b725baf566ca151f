"""Forged checkpoints: sealed as if rightly written, and yet refused, because they are impossible."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.manifest import FORMAT, MANIFEST
from pipeline.checkpoints.state import LearnerState
from pipeline.journal.position import Position
from pipeline.sealing import seal, unseal
from tests.support.model_harness import PREFIX, ModelHarness


@pytest.fixture
def folder(harness: ModelHarness) -> Path:
    return harness.settings.checkpoints.folder / PREFIX


def checkpointed_twice(harness: ModelHarness) -> tuple[str, str]:
    """Checkpoints at 1-2 and 1-4; their digests."""
    harness.stock()
    harness.shop(60)
    with harness.learning() as learning:
        learning.new(2)
        older = learning.checkpoint()
        learning.new(2)
        return older, learning.checkpoint()


def born(harness: ModelHarness, step: int) -> LearnerState:
    """A learner that has seen nothing, but says that it stands after a step."""
    position = Position(1, step, "", 0, {}, through=0, control=0, fold_to={})
    return capture(harness.learner(), harness.supervisor(), position)


def restored(harness: ModelHarness) -> Position | None:
    """Restore the newest readable checkpoint into a new learner."""
    return harness.checkpoints.restore(harness.learner(), harness.supervisor())


def version(position: Position | None) -> str | None:
    return position.version if position else None


def forge(path: Path, **change: object) -> None:
    """Give a checkpoint a manifest with other values and a seal that fits them."""
    fields = {**orjson.loads(unseal(path.read_bytes(), FORMAT)), **change}
    path.write_bytes(seal(json.dumps(fields).encode(), FORMAT))


FILE = {"sha256": "0" * 64, "size": 3}


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../../outside.json": FILE}},
        {"files": {".hidden.json": FILE}},
        {"files": {"learned.safetensors": {**FILE, "size": 10**30}}},
        {"files": {}},
        {"generation": -1},
        {"step": 5},
        {"step": 10**30},
        {"journal": -1},
        {"offsets": {"interactions": 1}},
        {"offsets": {"a/b": -1}},
        {"through": 10**30},
        {"model": {"layers": 1, "lora_rank": -1, "lora_alpha": 4, "adapter_rank": 4}},
        {"model": {"layers": 1, "lora_rank": 2, "lora_alpha": 4, "adapter_rank": 10**12}},
        {"model": {"layers": 2, "lora_rank": 2, "lora_alpha": 4, "adapter_rank": 9}},
    ],
)
def test_a_sealed_manifest_with_other_values_gives_way_to_the_one_before(
    harness: ModelHarness, folder: Path, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    older, _ = checkpointed_twice(harness)
    forge(folder / "1-4" / MANIFEST, **change)
    learner, supervisor = harness.learner(), harness.supervisor()
    position = harness.checkpoints.restore(learner, supervisor)
    assert position is not None and version(position) == "1-2"
    assert harness.checkpoints.digest(capture(learner, supervisor, position)) == older
    assert "checkpoint 1-4" in caplog.text


def test_a_learner_is_as_new_if_no_checkpoint_fits(harness: ModelHarness, folder: Path) -> None:
    checkpointed_twice(harness)
    for name in ("1-2", "1-4"):
        sizes = {"layers": 2, "lora_rank": 2, "lora_alpha": 4, "adapter_rank": 9}
        forge(folder / name / MANIFEST, model=sizes)
    learner, supervisor = harness.learner(), harness.supervisor()
    assert harness.checkpoints.restore(learner, supervisor) is None
    position = Position(1, 0, "", 0, {}, through=0, control=0, fold_to={})
    found = harness.checkpoints.digest(capture(learner, supervisor, position))
    assert found == harness.checkpoints.digest(born(harness, 0))


def test_checkpoints_whose_folders_were_swapped_are_refused(harness: ModelHarness, folder: Path) -> None:
    checkpointed_twice(harness)
    (folder / "1-4").rename(folder / "1-7")
    assert version(restored(harness)) == "1-2"
    assert harness.checkpoints.digests().keys() == {"1-2"}


@pytest.mark.parametrize(
    ("file", "tensor", "value"),
    [
        ("learned.safetensors", "mixer.weights", torch.nan),
        ("table.safetensors", "residual", torch.inf),
        ("counts.safetensors", "popularity", torch.nan),
        ("counts.safetensors", "recent.indices", 10**6),
        ("counts.safetensors", "recent.indptr", -1),
        ("replay.safetensors", "items", 10**6),
        ("replay.safetensors", "types", 99),
        ("replay.safetensors", "lengths", 10**6),
    ],
)
def test_sealed_values_that_are_impossible_give_way_to_the_one_before(
    harness: ModelHarness, folder: Path, file: str, tensor: str, value: float
) -> None:
    checkpointed_twice(harness)
    path = folder / "1-4" / file
    tensors = read_tensors(path.read_bytes())
    tensors[tensor].view(-1)[-1:] = value
    path.write_bytes(write_tensors(tensors))
    files = orjson.loads(unseal((folder / "1-4" / MANIFEST).read_bytes(), FORMAT))["files"]
    content = path.read_bytes()
    files[file] = {"sha256": sha256(content).hexdigest(), "size": len(content)}
    forge(folder / "1-4" / MANIFEST, files=files)
    assert version(restored(harness)) == "1-2"


def test_strangers_are_left_alone(harness: ModelHarness, folder: Path) -> None:
    checkpointed_twice(harness)
    strangers = ("6-375.bak", "1-9 (copy)", "notes-1", ".a-b.part", "٣-٤")
    for name in strangers:
        (folder / name).mkdir()
        (folder / name / MANIFEST).write_text("{}")
    (folder / ".1-5.part").write_text("a file where a folder must be")
    (folder / "1-5").write_text("likewise")
    harness.checkpoints.write(born(harness, 5))
    assert version(restored(harness)) == "1-5"
    assert [position.version for position in harness.checkpoints.positions()] == ["1-2", "1-4", "1-5"]
    assert {path.name for path in folder.iterdir()} >= set(strangers)
