"""Damaged and forged snapshots: whatever was changed, they are refused by name before they are served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors

from pipeline.errors import SnapshotCorrupt
from pipeline.sealing import seal, unseal
from pipeline.snapshots.codec import encode_layer
from pipeline.snapshots.filesystem import FORMAT
from pipeline.snapshots.layer import RowValues, texts_of
from pipeline.snapshots.snapshot import LayerFile, Snapshot
from pipeline.snapshots.store import SnapshotStore, digest_of
from pipeline.snapshots.version import Version
from tests.support.model_harness import PREFIX, ModelHarness, tiny_settings


def newest(folder: Path) -> Snapshot:
    store = SnapshotStore(str(folder), PREFIX)
    return store.load(store.versions()[-1])


class Published:
    """Two snapshots that share a layer; tests may damage what the later one reads, and `restore` it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._good = folder.with_name("good")
        shutil.copytree(folder, self._good)
        read = "layers", self.load().manifest.version
        self.files = sorted(
            path.relative_to(folder)
            for path in folder.rglob("*")
            if path.is_file() and path.parent.name in read
        )

    @property
    def store(self) -> SnapshotStore:
        return SnapshotStore(str(self._folder), PREFIX)

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

    def forge_layer(self, version: str, number: int, content: bytes) -> Path:
        """Put another layer in the place of one of a version, named by a manifest with a seal that fits."""
        fields = self.fields(version)
        fields["layers"][number] |= digest_of(content).model_dump()
        path = layer_file(fields, number)
        self.path(path).write_bytes(content)
        self.forge(version, fields)
        return path

    def restore(self, file: Path) -> None:
        shutil.copy(self._good / file, self._folder / file)


def layer_file(fields: Mapping[str, Any], number: int) -> Path:
    return Path(PREFIX) / "layers" / f"{fields['layers'][number]['sha256']}.safetensors"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("published")
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness:
        harness.stock()
        publisher = harness.publisher()
        with harness.learning() as learning:
            for user in ("yan", "zoë"):
                harness.shop(20)
                harness.act(user, "red-cup", rating=4)
                harness.act(user, "blue-plate", "green-lamp")
                learning.new()
                learning.publish(publisher)
                harness.upsert("new", "a new cup")
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
    for file in published.files:
        if is_manifest(file):
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
        {"layers": []},
        {"pair_scale": 0.0},
        {"pair_scale": 2.0},
        {"pair_scale": None},
        {"popularity_scale": -1.0},
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


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        {"after": 0},
        {"after": -1},
        {"after": HUGE},
        {"through": 0},
        {"through": 1},
        {"through": HUGE},
        {"sha256": "../../outside"},
        {"sha256": "0" * 64},
        {"size": HUGE},
        {"size": 1},
        {"tensors": {}},
        {"unknown": 1},
    ],
)
def test_a_sealed_manifest_with_other_layers_is_refused(
    published: Published, number: int, change: dict[str, object]
) -> None:
    version = published.load().manifest.version
    fields = published.fields(version)
    if change == {"through": fields["layers"][number]["through"]}:
        change = {"through": None}
    fields["layers"][number] |= change
    published.forge(version, fields)
    try:
        with pytest.raises(SnapshotCorrupt, match=f"snapshot {version}"):
            published.load()
    finally:
        published.restore(Path(PREFIX) / version / "manifest.json")


def test_layers_in_another_order_are_refused(published: Published) -> None:
    version = published.load().manifest.version
    fields = published.fields(version)
    for layers in (fields["layers"][::-1], fields["layers"][1:], fields["layers"] * 2, fields["layers"][:1]):
        published.forge(version, {**fields, "layers": layers})
        try:
            with pytest.raises(SnapshotCorrupt, match=f"snapshot {version}"):
                published.load()
        finally:
            published.restore(Path(PREFIX) / version / "manifest.json")


LAYER = "layers"


@pytest.mark.parametrize(
    ("file", "tensor", "form"),
    [
        (LAYER, "learned.residual", {"shape": [10**9, 10**9]}),
        (LAYER, "learned.residual", {"dtype": "F64"}),
        (LAYER, "content.vectors", {"shape": [10**6, 2]}),
        (LAYER, "learned.rows", {"shape": [10**12]}),
        (LAYER, "learned.rows", {"shape": []}),
        (LAYER, "items.lengths", {"dtype": "I64"}),
        (LAYER, "items.text", {"shape": [10**12]}),
        (LAYER, "pairs.counts", {"shape": [10**12]}),
        (LAYER, "popularity.counts", {"shape": [2, 2]}),
        ("learned.safetensors", "mixer", {"dtype": "I64"}),
        ("learned.safetensors", "learned.adapter_in", {"shape": [10**12, 10**12]}),
        ("learned.safetensors", "latest.items", {"dtype": "F32"}),
        ("learned.safetensors", "latest.weights", {"shape": [1]}),
    ],
)
@pytest.mark.parametrize("number", [0, 1])
def test_claims_beyond_a_file_are_refused_before_it_is_read(
    published: Published,
    number: int,
    file: str,
    tensor: str,
    form: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = published.load().manifest.version
    fields = published.fields(version)
    described = fields["layers"][number] if file == LAYER else fields["files"][file]
    described["tensors"][tensor] |= form
    published.forge(version, fields)
    monkeypatch.setattr("pipeline.snapshots.store.arrays_in", None)
    try:
        with pytest.raises(SnapshotCorrupt, match=f"snapshot {version}: {file}"):
            published.load()
    finally:
        published.restore(Path(PREFIX) / version / "manifest.json")


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        ("mixer", torch.nan),
        ("mixer", 1e9),
        ("latest.items", 99),
        ("latest.items", -1),
        ("latest.weights", 1e9),
    ],
)
def test_sealed_weights_that_are_impossible_are_refused(
    published: Published, tensor: str, value: float
) -> None:
    version, file = published.load().manifest.version, "learned.safetensors"
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


IMPOSSIBLE = [
    ("learned.bias", torch.inf),
    ("learned.bias", 1e9),
    ("rated.effects", torch.nan),
    ("rated.effects", 1e9),
    ("learned.residual", torch.nan),
    ("content.vectors", torch.nan),
    ("learned.rows", -1),
    ("learned.rows", 0),
    ("content.rows", 10**9),
    ("popularity.rows", 10**9),
    ("items.rows", 10**9),
    ("items.lengths", -1),
    ("items.lengths", 10**9),
    ("items.text", 255),
    ("popularity.counts", torch.nan),
    ("popularity.counts", -1.0),
    ("popularity.counts", 1e300),
    ("pairs.counts", torch.inf),
    ("pairs.counts", 1e300),
    ("pairs.columns", 10**6),
    ("pairs.columns", -1),
    ("pairs.rows", 10**6),
    ("pairs.lengths", 10**6),
    ("pairs.lengths", -1),
]


@pytest.mark.parametrize(("tensor", "value"), IMPOSSIBLE)
@pytest.mark.parametrize("number", [0, 1])
def test_sealed_rows_that_are_impossible_are_refused(
    published: Published, number: int, tensor: str, value: float
) -> None:
    held = published.load()
    version = held.manifest.version
    good = layer_file(published.fields(version), number)
    tensors = read_tensors(published.path(good).read_bytes())
    tensors[tensor].view(-1)[-1:] = value
    forged = published.forge_layer(version, number, write_tensors(tensors))
    try:
        with pytest.raises(SnapshotCorrupt, match=f"snapshot {version}.*layers/{forged.stem}"):
            published.load()
    finally:
        published.path(forged).unlink()
        published.restore(Path(PREFIX) / version / "manifest.json")


@pytest.mark.parametrize(
    ("part", "values", "reason"),
    [
        ("scanned", {0: 5, 1: 5}, "a row is scanned twice"),
        ("scanned", {0: 5, 2: 6}, "a slot is empty"),
        ("scanned", {0: 99}, "scanned is not finite, or out of range"),
        ("scanned", {0: -1}, "scanned is not finite, or out of range"),
        ("indexed", {3: 1}, "a row is indexed by a centroid that there is not"),
        ("indexed", {3: -1}, "indexed is not finite, or out of range"),
        ("centroids", {1: 0.5}, "centroids are left out"),
        ("centroids", {0: np.nan}, "vectors is not finite"),
    ],
)
def test_a_sealed_choice_that_cannot_be_searched_is_refused(
    published: Published, part: str, values: dict[int, float], reason: str
) -> None:
    fields = published.fields(published.load().manifest.version)
    version, store = fields["version"], published.store
    held = store.load(store.versions()[0])
    layer = dict(store.layer(LayerFile(**fields["layers"][1])))
    rows, column = np.array(list(values)), np.array([*values.values()])
    width = held.residual.shape[1]
    layer[part] = {
        "scanned": lambda: RowValues(rows, {"items": column}),
        "indexed": lambda: RowValues(rows, {"lists": column.astype(np.int32)}),
        "centroids": lambda: RowValues(rows, {"vectors": np.repeat(column[:, None], width, 1).astype("f4")}),
    }[part]()
    forged = published.forge_layer(version, 1, b"".join(encode_layer(layer)))
    try:
        with pytest.raises(SnapshotCorrupt, match=reason):
            published.load()
        with pytest.raises(SnapshotCorrupt, match=reason):
            store.changes(store.manifest(Version.parse(version)), held)
    finally:
        published.path(forged).unlink()
        published.restore(Path(PREFIX) / version / "manifest.json")


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ({}, "items do not match"),
        ({0: "another"}, "row 0 is of another item"),
        ({12: "red-cup"}, "row 12 is of another item"),
        ({13: "new"}, "are no rows of the table"),
        ({12: ""}, "should have at least 1 character"),
        ({12: "long" * 1_000}, "at most"),
    ],
)
def test_sealed_items_that_do_not_fit_the_others_are_refused(
    published: Published, items: dict[int, str], reason: str
) -> None:
    """The second layer is to add one item; what is held stays as it was."""
    fields = published.fields(published.load().manifest.version)
    version, store = fields["version"], published.store
    held = store.load(store.versions()[0])
    before = list(held.items)
    layer = dict(store.layer(LayerFile(**fields["layers"][1])))
    rows = np.array(sorted(items), dtype=np.int64)
    layer["items"] = texts_of([(items[row], "") for row in rows.tolist()], rows)
    forged = published.forge_layer(version, 1, b"".join(encode_layer(layer)))
    published.forge(version, {**published.fields(version), "rows": 13})
    try:
        with pytest.raises(SnapshotCorrupt, match=reason):
            published.load()
        with pytest.raises(SnapshotCorrupt, match=reason):
            store.changes(store.manifest(Version.parse(version)), held)
        assert list(held.items) == before
    finally:
        published.path(forged).unlink()
        published.restore(Path(PREFIX) / version / "manifest.json")


def test_bytes_that_are_no_tensors_are_refused(published: Published) -> None:
    version = published.load().manifest.version
    fields = published.fields(version)
    layer = fields["layers"][0]
    rubbish = b"rubbish" * int(layer["size"])
    fields["layers"][0] = {**layer, "sha256": sha256(rubbish).hexdigest(), "size": len(rubbish)}
    forged = layer_file(fields, 0)
    published.path(forged).write_bytes(rubbish)
    published.forge(version, fields)
    try:
        with pytest.raises(SnapshotCorrupt, match=forged.stem):
            published.load()
    finally:
        published.path(forged).unlink()
        published.restore(Path(PREFIX) / version / "manifest.json")


def test_a_symbolic_link_is_not_followed(published: Published, tmp_path: Path) -> None:
    file = layer_file(published.fields(published.load().manifest.version), 0)
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
