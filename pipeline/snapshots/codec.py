"""Encode snapshots as safetensors files and read them; a delta holds the changes since a full one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors.torch import save as write_tensors
from torch import Tensor

from pipeline.model.tensors import of_matrix, to_matrix, under
from pipeline.snapshots.snapshot import Manifest, Snapshot
from pipeline.state.counts import grown

LEARNED, ITEMS, COUNTS = "learned.safetensors", "items.safetensors", "counts.safetensors"
CONTENT_ROWS = "retold"
"""Name in format 1 of the tensor that holds a delta's rows of changed content."""
ENCODER = "encoder.safetensors"
"""Absent if the language model has no adapter."""


def encode_full(snapshot: Snapshot) -> dict[str, bytes]:
    """Encode the files of a full snapshot."""
    return {
        **_encode_encoder(snapshot),
        LEARNED: _encode_learned(snapshot),
        ITEMS: write_tensors(
            {"content": snapshot.content, "residual": snapshot.residual, "bias": snapshot.bias}
        ),
        COUNTS: write_tensors({**_encode_counts(snapshot), **of_matrix("base", snapshot.covisitation_base)}),
    }


def encode_delta(snapshot: Snapshot, changed: Tensor, changed_content: Tensor) -> dict[str, bytes]:
    """Encode the files of a delta.

    Args:
        snapshot: the whole state.
        changed: rows whose residual or bias differ from the full snapshot's.
        changed_content: rows whose content differs from the full snapshot's.
    """
    return {
        **_encode_encoder(snapshot),
        LEARNED: _encode_learned(snapshot),
        ITEMS: write_tensors(
            {
                "changed": changed,
                "residual": snapshot.residual[changed],
                "bias": snapshot.bias[changed],
                CONTENT_ROWS: changed_content,
                "content": snapshot.content[changed_content],
            }
        ),
        COUNTS: write_tensors(_encode_counts(snapshot)),
    }


def full_snapshot(manifest: Manifest, files: Mapping[str, Mapping[str, Tensor]]) -> Snapshot:
    """Read a full snapshot from its files."""
    items, counts = files[ITEMS], files[COUNTS]
    return Snapshot(
        manifest=manifest,
        items=manifest.items,
        encoder=files.get(ENCODER, {}),
        learned=under("learned.", files[LEARNED]),
        mixer=files[LEARNED]["mixer"],
        content=items["content"],
        residual=items["residual"],
        bias=items["bias"],
        covisitation_base=to_matrix("base", counts, manifest.rows),
        covisitation_recent=to_matrix("recent", counts, manifest.rows),
        covisitation_scale=float(counts["scale"]),
        popularity=counts["popularity"].numpy(),
    )


def apply_delta(full: Snapshot, manifest: Manifest, files: Mapping[str, Mapping[str, Tensor]]) -> Snapshot:
    """Read a delta and apply it to the full snapshot that it names."""
    items, counts = files[ITEMS], files[COUNTS]
    return Snapshot(
        manifest=manifest,
        items={**full.items, **manifest.items},
        encoder=files.get(ENCODER, {}),
        learned=under("learned.", files[LEARNED]),
        mixer=files[LEARNED]["mixer"],
        content=_overlay(full.content, manifest.rows, items[CONTENT_ROWS], items["content"]),
        residual=_overlay(full.residual, manifest.rows, items["changed"], items["residual"]),
        bias=_overlay(full.bias, manifest.rows, items["changed"], items["bias"]),
        covisitation_base=grown(full.covisitation_base, manifest.rows),
        covisitation_recent=to_matrix("recent", counts, manifest.rows),
        covisitation_scale=float(counts["scale"]),
        popularity=counts["popularity"].numpy(),
    )


def _encode_encoder(snapshot: Snapshot) -> dict[str, bytes]:
    return {ENCODER: write_tensors(dict(snapshot.encoder))} if snapshot.encoder else {}


def _encode_learned(snapshot: Snapshot) -> bytes:
    named = {f"learned.{name}": tensor.contiguous() for name, tensor in snapshot.learned.items()}
    return write_tensors({**named, "mixer": snapshot.mixer})


def _encode_counts(snapshot: Snapshot) -> dict[str, Tensor]:
    return {
        "popularity": torch.from_numpy(snapshot.popularity),
        "scale": torch.tensor(snapshot.covisitation_scale, dtype=torch.float64),
        **of_matrix("recent", snapshot.covisitation_recent),
    }


def _overlay(base: Tensor, size: int, rows: Tensor, values: Tensor) -> Tensor:
    """Grow `base` to `size` rows and replace some rows."""
    grown = torch.cat([base, base.new_zeros(size - base.shape[0], *base.shape[1:])])
    grown[rows] = values
    return grown
