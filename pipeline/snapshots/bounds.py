"""Bounds of a manifest, checked before any of its files is read: what it names must fit together.

A file holds exactly the bytes of its tensors after a header, so a shape beyond the file's size is a
lie; the sizes together are bounded by the reader's settings. Nothing is allocated for a claim.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import SnapshotCorrupt
from pipeline.eventlog.topics import Topics
from pipeline.snapshots.codec import ENCODER, LEARNED, VALUES
from pipeline.snapshots.layer import ENCODED_PARTS, LENGTHS, ROWS
from pipeline.snapshots.snapshot import FileDigest, LayerFile, Manifest
from pipeline.snapshots.values import LATEST_ITEMS
from pipeline.snapshots.version import Version

LAYERS = "layers"
"""The folder of the files that versions share."""
OF_CONTENT = "content", "centroids"
"""Parts whose vectors hold those of other modalities beside that of the text."""
LATEST = {LATEST_ITEMS: "I64", "latest.weights": "F64"}
"""Number types of the latest counts; all else that a version has of its own is float32."""
Forms = Mapping[str, tuple[str, tuple[int, ...]]]
"""Number type and shape of each tensor."""


def check_manifest(manifest: Manifest, model: str, most_bytes: int) -> None:
    """Check a manifest alone.

    Args:
        manifest: unsealed and valid field by field.
        model: the model whose snapshots the reader wants.
        most_bytes: the largest size of all files together.

    Raises:
        SnapshotCorrupt: names what does not hold.
    """
    if manifest.model != model:
        raise _refusal(manifest, f"it belongs to the model {manifest.model!r}")
    _check_offsets(manifest)
    _check_files(manifest, most_bytes)
    _check_steps(manifest)
    width = _width(manifest, manifest.layers[0])
    for layer in manifest.layers:
        _check_forms(manifest, layer, width)


def layer_path(layer: LayerFile) -> str:
    """Return where a layer's file is, below the model's folder: its name is its digest."""
    return f"{LAYERS}/{layer.sha256}.safetensors"


def _check_offsets(manifest: Manifest) -> None:
    topics = Topics(manifest.model)
    for place in manifest.learned_offsets:
        if place.topic not in (topics.interactions, topics.items):
            raise _refusal(manifest, f"it learned from {place.topic}, which is no topic of its model")


def _check_files(manifest: Manifest, most_bytes: int) -> None:
    names = manifest.files.keys()
    if not {LEARNED} <= names <= {LEARNED, ENCODER, VALUES}:
        raise _refusal(manifest, f"its files are {sorted(names)}")
    files: dict[str, FileDigest] = {
        **manifest.files,
        **{layer_path(layer): layer for layer in manifest.layers},
    }
    size = sum(file.size for file in files.values())
    if size > most_bytes:
        raise _refusal(
            manifest, f"its files have {size} bytes, and snapshots.most_bytes allows {most_bytes}; raise it"
        )
    for name, file in files.items():
        if not sum(form.bytes for form in file.tensors.values()) < file.size:
            raise _refusal(manifest, f"{name} cannot hold the tensors that it names")
        if name in names and any(form.dtype != LATEST.get(of, "F32") for of, form in file.tensors.items()):
            raise _refusal(manifest, f"{name} does not hold float32 values")
    learned = manifest.files[LEARNED].tensors
    for name in ("mixer", "ratings"):
        if name not in learned:
            raise _refusal(manifest, f"{LEARNED} holds no {name}")
    latest = [learned[name].shape for name in LATEST if name in learned]
    if latest and (len(latest) != len(LATEST) or len(set(latest)) > 1 or len(latest[0]) != 1):
        raise _refusal(manifest, f"{LEARNED} holds half of the latest counts")


def _check_steps(manifest: Manifest) -> None:
    """Check that the layers hold the changes of all steps, one after another, up to the version's."""
    reached = None
    for layer in manifest.layers:
        if layer.after != reached or (reached is not None and layer.through <= reached):
            raise _refusal(manifest, f"its layers do not follow each other after step {reached}")
        reached = layer.through
    if reached != Version.parse(manifest.version).step:
        raise _refusal(manifest, f"its layers end at step {reached}")
    if (manifest.kind == "full") != (len(manifest.layers) == 1):
        raise _refusal(manifest, "a full one, and only a full one, has one layer")


def _check_forms(manifest: Manifest, layer: LayerFile, width: int) -> None:
    found, forms = layer.tensors, _forms(manifest, layer, width)
    if found.keys() != forms.keys():
        raise _refusal(manifest, f"{layer_path(layer)} holds {sorted(found)[:8]}, not {sorted(forms)}")
    for tensor, (dtype, shape) in forms.items():
        form = found[tensor]
        if form.dtype != dtype or form.shape != shape:
            found_as = f"{form.dtype} {list(form.shape)}"
            raise _refusal(
                manifest, f"{layer_path(layer)}: {tensor} is {found_as}, which does not match the rest"
            )


def _forms(manifest: Manifest, layer: LayerFile, width: int) -> Forms:
    forms: dict[str, tuple[str, tuple[int, ...]]] = {}
    for part, form in ENCODED_PARTS[manifest.compression.vectors].items():
        rows = _shape(manifest, layer, f"{part}.{ROWS}", 1)[0]
        if rows > manifest.rows:
            raise _refusal(manifest, f"{layer_path(layer)} changes more rows than there are")
        forms[f"{part}.{ROWS}"] = "I64", (rows,)
        length = rows
        if form.ragged:
            forms[f"{part}.{LENGTHS}"] = "I32", (rows,)
            length = _shape(manifest, layer, f"{part}.{next(iter(form.values))}", 1)[0]
        of_part = manifest.sizes.columns(width) if part in OF_CONTENT else width
        for name, dtype in form.values.items():
            forms[f"{part}.{name}"] = dtype, (length, of_part) if name in form.wide else (length,)
    return forms


def _width(manifest: Manifest, layer: LayerFile) -> int:
    return _shape(manifest, layer, "learned.residual", 2)[1]


def _shape(manifest: Manifest, layer: LayerFile, tensor: str, dimensions: int) -> tuple[int, ...]:
    form = layer.tensors.get(tensor)
    if form is None or len(form.shape) != dimensions:
        found = "missing" if form is None else f"{list(form.shape)}"
        raise _refusal(manifest, f"{layer_path(layer)}: {tensor} is {found}, which does not match the rest")
    return form.shape


def _refusal(manifest: Manifest, reason: str) -> SnapshotCorrupt:
    return SnapshotCorrupt(f"snapshot {manifest.version}: {reason}; publish again or roll back")
