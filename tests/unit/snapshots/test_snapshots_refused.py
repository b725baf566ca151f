"""Damaged and forged snapshots: whatever was changed, they are refused by name before they are served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors

from pipeline.errors import SnapshotCorrupt
from pipeline.sealing import seal, unseal
from pipeline.snapshots.snapshot import FORMAT, Snapshot
from pipeline.snapshots.store import SnapshotStore, digest_of
from tests.support.model_harness import PREFIX, ModelHarness, tiny_settings


def newest(folder: Path) -> Snapshot:
    store = SnapshotStore(str(folder), PREFIX)
    return store.load(store.versions()[-1])


class Published:
    """A full snapshot and a delta on disk that tests may damage; `restore` undoes the damage."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._good = folder.with_name("good")
        shutil.copytree(folder, self._good)
        self.files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())

    def load(self) -> Snapshot:
        return newest(self._folder)

    def path(self, file: Path) -> Path:
        return self._folder / file

    def fields(self, version: str) -> dict[str, Any]:
        """The fields of a manifest."""
        sealed = self.path(Path(PREFIX) / version / "manifest.json").read_bytes()
        fields: dict[str, Any] = orjson.loads(unseal(sealed, FORMAT))
        return fields

    def forge(self, version: str, fields: Mapping[str, object]) -> None:
        """Write a manifest with other fields and a seal that fits them, as an intruder would."""
        content = json.dumps(fields).encode()
        self.path(Path(PREFIX) / version / "manifest.json").write_bytes(seal(content, FORMAT))

    def restore(self, file: Path) -> None:
        shutil.copy(self._good / file, self._folder / file)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("published")
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness:
        harness.stock()
        publisher = harness.publisher()
        with harness.learning() as learning:
            for _ in range(2):
                harness.shop(20)
                learning.new()
                learning.publish(publisher)
        yield Published(folder / "snapshots")


def is_manifest(file: Path) -> bool:
    return file.name == "manifest.json"


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_refused(published: Published, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from([file for file in published.files if not is_manifest(file)]))
    content = bytearray(published.path(file).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    published.path(file).write_bytes(content)
    try:
        with pytest.raises(SnapshotCorrupt, match=file.name):
            published.load()
    finally:
        published.restore(file)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_refused(published: Published, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(published.files))
    content = published.path(file).read_bytes()
    published.path(file).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        with pytest.raises(SnapshotCorrupt):
            published.load()
    finally:
        published.restore(file)


def test_a_missing_file_is_refused(published: Published) -> None:
    newest_version = published.load().manifest.version
    for file in published.files:
        if is_manifest(file) and file.parent.name == newest_version:
            continue  # without its manifest the version does not exist
        published.path(file).unlink()
        try:
            with pytest.raises(SnapshotCorrupt, match="publish again or roll back"):
                published.load()
        finally:
            published.restore(file)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_changed_bit_of_a_manifest_is_refused(published: Published, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from([file for file in published.files if is_manifest(file)]))
    content = bytearray(published.path(file).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    published.path(file).write_bytes(content)
    try:
        with pytest.raises(SnapshotCorrupt, match="snapshot 1-.*manifest"):
            published.load()
    finally:
        published.restore(file)


HUGE = 10**30
OUTSIDE = {"../../../outside.safetensors": {"sha256": "0" * 64, "size": 1, "tensors": {}}}


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"kind": "half"},
        {"kind": "full"},
        {"base": None},
        {"base": "1-99"},
        {"base": "newest"},
        {"base_digest": None},
        {"base_digest": "0" * 64},
        {"version": "1-1"},
        {"model": "another"},
        {"files": {}},
        {"files": OUTSIDE},
        {"rows": 3},
        {"rows": 99},
        {"rows": -1},
        {"rows": HUGE},
        {"events": HUGE},
        {"sizes": {"layers": 1, "lora_rank": -1, "lora_alpha": 4, "adapter_rank": 4}},
        {"sizes": {"layers": 1, "lora_rank": 2, "lora_alpha": 4, "adapter_rank": 10**12}},
        {"max_tokens": HUGE},
        {"offsets": {"mill.interactions": 3}},
        {"offsets": {"mill.interactions/x": 3}},
        {"offsets": {"mill.interactions/0": -3}},
        {"offsets": {"other.interactions/0": 3}},
        {"learned_through": -1},
        {"published_at": HUGE},
        {"items": {"": ""}},
        {"items": {"red-cup": "no digest"}},
        {"quality": {"model": {"all": {"log_loss": "low"}}}},
        {"unknown": 1},
    ],
)
def test_a_sealed_manifest_with_other_values_is_refused(
    published: Published, change: dict[str, object]
) -> None:
    version = published.load().manifest.version
    assert published.fields(version)["kind"] == "delta"
    published.forge(version, {**published.fields(version), **change})
    try:
        with pytest.raises(SnapshotCorrupt, match="snapshot 1-"):
            published.load()
    finally:
        published.restore(Path(PREFIX) / version / "manifest.json")


def forms(published: Published, file: str, tensor: str, **form: object) -> dict[str, object]:
    """A delta's manifest in which one tensor claims another form."""
    fields = published.fields(published.load().manifest.version)
    fields["files"][file]["tensors"][tensor] |= form
    return dict(fields)


@pytest.mark.parametrize(
    ("file", "tensor", "form"),
    [
        ("items.safetensors", "residual", {"shape": [10**9, 10**9]}),
        ("items.safetensors", "residual", {"dtype": "F64"}),
        ("items.safetensors", "changed", {"shape": [10**12]}),
        ("items.safetensors", "changed", {"shape": []}),
        ("counts.safetensors", "recent.data", {"shape": [10**12]}),
        ("counts.safetensors", "popularity", {"shape": [2, 2]}),
        ("learned.safetensors", "mixer", {"dtype": "I64"}),
        ("learned.safetensors", "learned.adapter_in", {"shape": [10**12, 10**12]}),
    ],
)
def test_claims_beyond_a_file_are_refused_before_it_is_read(
    published: Published, file: str, tensor: str, form: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = published.load().manifest.version
    published.forge(version, forms(published, file, tensor, **form))
    monkeypatch.setattr("pipeline.snapshots.store.read_tensors", None)
    try:
        with pytest.raises(SnapshotCorrupt, match=f"snapshot {version}: {file}"):
            published.load()
    finally:
        published.restore(Path(PREFIX) / version / "manifest.json")


@pytest.mark.parametrize(
    ("file", "tensor", "value"),
    [
        ("learned.safetensors", "mixer", torch.nan),
        ("learned.safetensors", "mixer", 1e9),
        ("items.safetensors", "bias", torch.inf),
        ("items.safetensors", "changed", -1),
        ("items.safetensors", "changed", 10**9),
        ("counts.safetensors", "popularity", torch.nan),
        ("counts.safetensors", "recent.data", torch.inf),
        ("counts.safetensors", "recent.indices", 10**6),
        ("counts.safetensors", "recent.indices", -1),
        ("counts.safetensors", "recent.indptr", 10**6),
        ("counts.safetensors", "scale", torch.nan),
        ("counts.safetensors", "scale", 0.0),
        ("counts.safetensors", "scale", 2.0),
        ("counts.safetensors", "popularity", -1.0),
        ("counts.safetensors", "popularity", 1e300),
        ("counts.safetensors", "recent.data", 1e300),
    ],
)
def test_sealed_values_that_are_impossible_are_refused(
    published: Published, file: str, tensor: str, value: float
) -> None:
    version = published.load().manifest.version
    path = published.path(Path(PREFIX) / version / file)
    tensors = read_tensors(path.read_bytes())
    tensors[tensor].view(-1)[-1:] = value
    content = write_tensors(tensors)
    path.write_bytes(content)
    fields = published.fields(version)
    fields["files"][file] = digest_of(content).model_dump()
    published.forge(version, fields)
    try:
        with pytest.raises(SnapshotCorrupt, match=f"snapshot {version}, {file}"):
            published.load()
    finally:
        for name in (file, "manifest.json"):
            published.restore(Path(PREFIX) / version / name)


def items_size(published: Published) -> int:
    return published.load().manifest.files["items.safetensors"].size


def test_bytes_that_are_no_tensors_are_refused(published: Published) -> None:
    manifest = published.load().manifest
    folder = Path(PREFIX) / manifest.version
    rubbish = b"rubbish" * items_size(published)
    items = {**manifest.files["items.safetensors"].model_dump(), "sha256": sha256(rubbish).hexdigest()}
    files = {**manifest.model_dump()["files"], "items.safetensors": {**items, "size": len(rubbish)}}
    published.path(folder / "items.safetensors").write_bytes(rubbish)
    published.forge(manifest.version, {**manifest.model_dump(), "files": files})
    try:
        with pytest.raises(SnapshotCorrupt, match="items.safetensors"):
            published.load()
    finally:
        for name in ("items.safetensors", "manifest.json"):
            published.restore(folder / name)


def test_a_symbolic_link_is_not_followed(published: Published, tmp_path: Path) -> None:
    file = Path(PREFIX) / published.load().manifest.version / "items.safetensors"
    outside = tmp_path / "outside"
    outside.write_bytes(published.path(file).read_bytes())
    published.path(file).unlink()
    published.path(file).symlink_to(outside)
    try:
        with pytest.raises(SnapshotCorrupt, match="no plain file"):
            published.load()
    finally:
        published.path(file).unlink()
        published.restore(file)
