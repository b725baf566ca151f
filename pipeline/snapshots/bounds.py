"""Bounds of a manifest, checked before any of its files is read: what it names must fit together.

A file holds exactly the bytes of its tensors after a header, so a shape beyond the file's size is a
lie; the sizes together are bounded by the reader's settings. Nothing is allocated for a claim.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from pipeline.errors import SnapshotCorrupt
from pipeline.eventlog.topics import Topics
from pipeline.snapshots.codec import CONTENT_ROWS, COUNTS, ENCODER, ITEMS, LEARNED
from pipeline.snapshots.snapshot import FileDigest, Manifest, TensorForm

REQUIRED = {LEARNED, ITEMS, COUNTS}
HEADER_LENGTH_BYTES = 8
"""Length of a safetensors header, before the header itself."""
INDICES = ("I32", "I64")

Form = tuple[tuple[str, ...], tuple[int, ...]]
"""The number types that a tensor may have, and its shape."""
Forms = Mapping[str, Form]


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
    if (manifest.kind == "delta") != (manifest.base is not None and manifest.base_digest is not None):
        raise _refusal(manifest, "a delta, and only a delta, names its base with its digest")
    _check_offsets(manifest)
    _check_files(manifest, most_bytes)
    for name, forms in (ITEMS, _item_forms(manifest)), (COUNTS, _count_forms(manifest)):
        _check_forms(manifest, name, forms)


def check_base(delta: Manifest, base: Manifest) -> None:
    """Check that a delta can build on a full snapshot: it must hold every row that the full one lacks.

    Raises:
        SnapshotCorrupt: names what does not hold.
    """
    if base.kind != "full":
        raise _refusal(delta, f"it builds on {base.version}, which is not full")
    (changed,) = delta.files[ITEMS].tensors["changed"].shape
    if not 0 <= delta.rows - base.rows <= changed:
        raise _refusal(delta, f"its {delta.rows} rows do not match the {base.rows} of {base.version}")
    if _width(delta) != _width(base):
        raise _refusal(delta, f"its item vectors are not as wide as those of {base.version}")


def tensors_in(content: bytes) -> dict[str, TensorForm]:
    """Read the forms of all tensors from the header of a safetensors file.

    Raises:
        ValueError: it has no readable header.
    """
    length = int.from_bytes(content[:HEADER_LENGTH_BYTES], "little")
    header = orjson.loads(content[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + length])
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return {
        name: TensorForm(dtype=form["dtype"], shape=form["shape"])
        for name, form in header.items()
        if name != "__metadata__"
    }


def _check_offsets(manifest: Manifest) -> None:
    topics = Topics(manifest.model)
    for place in manifest.learned_offsets:
        if place.topic not in (topics.interactions, topics.items):
            raise _refusal(manifest, f"it learned from {place.topic}, which is no topic of its model")


def _check_files(manifest: Manifest, most_bytes: int) -> None:
    names = manifest.files.keys()
    if not REQUIRED <= names <= REQUIRED | {ENCODER}:
        raise _refusal(manifest, f"its files are {sorted(names)}")
    size = sum(file.size for file in manifest.files.values())
    if size > most_bytes:
        raise _refusal(
            manifest, f"its files have {size} bytes, and snapshots.most_bytes allows {most_bytes}; raise it"
        )
    for name, file in manifest.files.items():
        if not sum(form.bytes for form in file.tensors.values()) < file.size:
            raise _refusal(manifest, f"{name} cannot hold the tensors that it names")
        if name in (LEARNED, ENCODER) and any(form.dtype != "F32" for form in file.tensors.values()):
            raise _refusal(manifest, f"{name} does not hold float32 values")
    if "mixer" not in manifest.files[LEARNED].tensors:
        raise _refusal(manifest, f"{LEARNED} holds no mixer")


def _item_forms(manifest: Manifest) -> Forms:
    width, floats = _width(manifest), ("F32",)
    if manifest.kind == "full":
        rows = manifest.rows
        return {
            "content": (floats, (rows, width)),
            "residual": (floats, (rows, width)),
            "bias": (floats, (rows,)),
        }
    changed, retold = (_length(manifest, ITEMS, name) for name in ("changed", CONTENT_ROWS))
    if max(changed, retold) > manifest.rows:
        raise _refusal(manifest, f"{ITEMS} changes more rows than there are")
    return {
        "changed": (("I64",), (changed,)),
        "residual": (floats, (changed, width)),
        "bias": (floats, (changed,)),
        CONTENT_ROWS: (("I64",), (retold,)),
        "content": (floats, (retold, width)),
    }


def _count_forms(manifest: Manifest) -> Forms:
    levels = ("base", "recent") if manifest.kind == "full" else ("recent",)
    forms: dict[str, Form] = {"popularity": (("F64",), (manifest.rows,)), "scale": (("F64",), ())}
    for level in levels:
        pairs = (_length(manifest, COUNTS, f"{level}.data"),)
        forms |= {
            f"{level}.data": (("F64",), pairs),
            f"{level}.indices": (INDICES, pairs),
            f"{level}.indptr": (INDICES, (manifest.rows + 1,)),
        }
    return forms


def _check_forms(manifest: Manifest, name: str, forms: Forms) -> None:
    found = manifest.files[name].tensors
    if found.keys() != forms.keys():
        raise _refusal(manifest, f"{name} holds {sorted(found)[:8]}, not {sorted(forms)}")
    for tensor, (types, shape) in forms.items():
        form = found[tensor]
        if form.dtype not in types or form.shape != shape:
            found_as = f"{form.dtype} {list(form.shape)}"
            raise _refusal(manifest, f"{name}: {tensor} is {found_as}, which does not match the rest")


def _width(manifest: Manifest) -> int:
    shape = _form(manifest.files[ITEMS], "residual", manifest, ITEMS).shape
    return shape[-1] if len(shape) == 2 else 0


def _length(manifest: Manifest, file: str, tensor: str) -> int:
    shape = _form(manifest.files[file], tensor, manifest, file).shape
    return shape[0] if len(shape) == 1 else 0


def _form(file: FileDigest, tensor: str, manifest: Manifest, name: str) -> TensorForm:
    if tensor not in file.tensors:
        raise _refusal(manifest, f"{name} holds no {tensor}")
    return file.tensors[tensor]


def _refusal(manifest: Manifest, reason: str) -> SnapshotCorrupt:
    return SnapshotCorrupt(f"snapshot {manifest.version}: {reason}; publish again or roll back")
