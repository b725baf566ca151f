"""Forged checkpoints: sealed as if rightly written, and yet refused, because they are impossible."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.manifest import FORMAT, MANIFEST
from pipeline.eventlog.partitioner import partition_of
from pipeline.journal.position import Position
from pipeline.sealing import seal, unseal
from tests.support.checkpoint_tools import born, checkpointed_twice, restored, version
from tests.support.model_harness import PARTITIONS, PREFIX, ModelHarness, copy_of, tiny_settings


@pytest.fixture(scope="module")
def checkpointed(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """The folder of a model with the checkpoints 1-2 and 1-4; tests forge those of copies of it."""
    folder = tmp_path_factory.mktemp("checkpointed")
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness:
        checkpointed_twice(harness)
    return folder


@pytest.fixture
def harness(checkpointed: Path, tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    """A copy of it, of the test's own."""
    with copy_of(checkpointed, tmp_path, backbone_folder) as harness:
        yield harness


@pytest.fixture
def folder(harness: ModelHarness) -> Path:
    return harness.settings.checkpoints.folder / PREFIX


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
    older = harness.checkpoints.digests()["1-2"]
    forge(folder / "1-4" / MANIFEST, **change)
    learner, supervisor = harness.learner(), harness.supervisor()
    position = harness.checkpoints.restore(learner, supervisor)
    assert position is not None and version(position) == "1-2"
    assert harness.checkpoints.digest(capture(learner, supervisor, position)) == older
    assert "checkpoint 1-4" in caplog.text


def test_a_learner_is_as_new_if_no_checkpoint_fits(harness: ModelHarness, folder: Path) -> None:
    for name in ("1-2", "1-4"):
        sizes = {"layers": 2, "lora_rank": 2, "lora_alpha": 4, "adapter_rank": 9}
        forge(folder / name / MANIFEST, model=sizes)
    learner, supervisor = harness.learner(), harness.supervisor()
    assert harness.checkpoints.restore(learner, supervisor) is None
    position = Position(1, 0, "", 0, {}, through=0, control=0, fold_to={})
    found = harness.checkpoints.digest(capture(learner, supervisor, position))
    assert found == harness.checkpoints.digest(born(harness, 0))


def test_checkpoints_whose_folders_were_swapped_are_refused(harness: ModelHarness, folder: Path) -> None:
    (folder / "1-4").rename(folder / "1-7")
    assert version(restored(harness)) == "1-2"
    assert harness.checkpoints.digests().keys() == {"1-2"}


@pytest.mark.parametrize(
    ("file", "tensor", "value"),
    [
        ("learned.safetensors", "mixer.weights", torch.nan),
        ("learned.safetensors", "parameter.adapter_in", 1e9),
        ("learned.safetensors", "exp_avg_sq.adapter_in", -1.0),
        ("table.safetensors", "bias_squares", -1.0),
        ("table.safetensors", "content", torch.inf),
        ("table.safetensors", "residual", torch.inf),
        ("counts.safetensors", "popularity", torch.nan),
        ("counts.safetensors", "popularity", -1.0),
        ("counts.safetensors", "popularity", 1e300),
        ("counts.safetensors", "values", 1e300),
        ("counts.safetensors", "values", -1.0),
        ("counts.safetensors", "scale", 2.0),
        ("counts.safetensors", "scale", 0.0),
        ("counts.safetensors", "acts", -1),
        ("counts.safetensors", "events", -1),
        ("counts.safetensors", "popularity_scale", 0.0),
        ("counts.safetensors", "latest.items", 10**6),
        ("counts.safetensors", "latest.weights", torch.inf),
        ("counts.safetensors", "columns", 10**6),
        ("counts.safetensors", "columns", 0),
        ("counts.safetensors", "lengths", -1),
        ("counts.safetensors", "lengths", 2**62),
        ("replay.safetensors", "items", 10**6),
        ("replay.safetensors", "types", 99),
        ("replay.safetensors", "first_new", 99),
        ("replay.safetensors", "weights", torch.inf),
        ("replay.safetensors", "weights", -1.0),
        ("replay.safetensors", "offered", -1),
        ("seen-0.safetensors", "digests", -1),
        ("replay.safetensors", "lengths", 10**6),
    ],
)
def test_sealed_values_that_are_impossible_give_way_to_the_one_before(
    harness: ModelHarness, folder: Path, file: str, tensor: str, value: float
) -> None:
    tensors = read_tensors((folder / "1-4" / file).read_bytes())
    tensors[tensor].view(-1)[-2:] = value
    replace(folder / "1-4", file, write_tensors(tensors))
    assert version(restored(harness)) == "1-2"


def replace(folder: Path, file: str, content: bytes | None) -> None:
    """Give a checkpoint another file, or none, and a manifest that says so."""
    files = orjson.loads(unseal((folder / MANIFEST).read_bytes(), FORMAT))["files"]
    if content is None:
        del files[file]
    else:
        (folder / file).write_bytes(content)
        files[file] = {"sha256": sha256(content).hexdigest(), "size": len(content)}
    forge(folder / MANIFEST, files=files)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("catalogue.json", b'["red-cup",', b'["blue-cup",'),
        ("catalogue.json", b'["red-cup",', b"[null,"),
        ("catalogue.json", b'["red-cup",', b'["red-mug",'),
        ("catalogue.json", b'"title":"red cup"', b'"title":5'),
        ("histories-{}.json", b"red-", b"rde-"),
        ("histories-{}.json", b"purchase", b"theft"),
        ("histories-{}.json", b'\\"offset\\":0', b'\\"offset\\":-1'),
        ("supervisor.json", b'"means":[', b'"means":[null,'),
        ("supervisor.json", b'"events":60', b'"events":"many"'),
        ("supervisor.json", b'"probation":null', b'"probation":[]'),
        ("supervisor.json", b'"probation":null', b'"probation":"newest"'),
        ("supervisor.json", b'"before":"1-4"', b'"before":"newest"'),
        ("supervisor.json", b'"blocks":[]', b'"blocks":[[1],[1,2]]'),
        ("supervisor.json", b'"recent":[[[[', b'"recent":[[[[1.0,'),
        ("supervisor.json", b'"reference":[]', b'"reference":[[]]'),
    ],
)
def test_sealed_texts_that_are_impossible_give_way_to_the_one_before(
    harness: ModelHarness, folder: Path, file: str, old: bytes, new: bytes
) -> None:
    """Each of them was restored, and ended the learning at a later batch."""
    name = file.format(partition_of("ann", PARTITIONS))
    content = (folder / "1-4" / name).read_bytes()
    assert old in content
    replace(folder / "1-4", name, content.replace(old, new, 1))
    assert version(restored(harness)) == "1-2"


@pytest.mark.parametrize("file", ["histories-3.json", "seen-3.safetensors", "learned.safetensors"])
def test_a_sealed_checkpoint_without_one_of_its_files_gives_way_to_the_one_before(
    harness: ModelHarness, folder: Path, file: str
) -> None:
    replace(folder / "1-4", file, None)
    assert version(restored(harness)) == "1-2"


def test_a_moment_that_adamw_does_not_keep_is_refused(harness: ModelHarness, folder: Path) -> None:
    tensors = read_tensors((folder / "1-4" / "learned.safetensors").read_bytes())
    del tensors["step.adapter_in"]
    replace(folder / "1-4", "learned.safetensors", write_tensors(tensors))
    assert version(restored(harness)) == "1-2"


def test_a_folder_without_a_manifest_is_told_and_gives_way_to_the_one_before(
    harness: ModelHarness, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "1-4" / MANIFEST).unlink()
    assert version(restored(harness)) == "1-2"
    assert f"there is no checkpoint at {folder / '1-4'}: {MANIFEST} is missing" in caplog.text


def test_strangers_are_left_alone(harness: ModelHarness, folder: Path) -> None:
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
