"""The digest of a snapshot's content, independent of how it is split into files."""

from __future__ import annotations

import hashlib

import torch

from pipeline.model.tensors import of_matrix
from pipeline.snapshots.snapshot import Snapshot


def snapshot_digest(snapshot: Snapshot) -> str:
    """Digest the content of a snapshot; equal states have equal digests, full or delta."""
    tensors = {
        **{f"encoder.{name}": tensor for name, tensor in snapshot.encoder.items()},
        **snapshot.learned,
        "mixer": snapshot.mixer,
        "residual": snapshot.residual,
        "bias": snapshot.bias,
        "popularity": torch.from_numpy(snapshot.popularity),
        "scale": torch.tensor(snapshot.covisitation_scale, dtype=torch.float64),
        **of_matrix("base", snapshot.covisitation_base),
        **of_matrix("recent", snapshot.covisitation_recent),
    }
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    for item, text in snapshot.items.items():
        digest.update(f"{item}\n{text}\n".encode())
    return digest.hexdigest()
