"""The digest of a snapshot's state, kept up to date at the cost of the rows that change.

Each row of each part has a digest of its own, 16 bytes of a sha256; those of a part are summed modulo 2^64
in two lanes, so that a changed row costs one subtraction and one addition (AdHash, Bellare and Micciancio
1997). A row of zeros counts nothing: equal states have equal digests, however their rows came together. It
protects against accident, not against a forger, who could choose rows; sha256 of files and the sealed
manifest do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.tensors import put_under
from pipeline.snapshots.layer import PARTS, Array, Layer, RowValues
from pipeline.snapshots.snapshot import Manifest, Snapshot, Update

LANES = 2
DIGESTED = tuple(part for part in PARTS if part not in ("content", "centroids", "indexed"))
"""Content vectors and their index follow from the texts, whose digests are in the state, and the encoder;
another CPU rounds them differently."""
GROWTH = 1.25
ROWS_AT_ONCE = 4096
"""Rows that are copied side by side to be hashed."""


class StateDigest:
    """The digests of all rows of a state, 64 bytes an item, and their sums."""

    def __init__(self) -> None:
        self._rows = {part: np.zeros((0, LANES), dtype=np.uint64) for part in DIGESTED}
        self._sums = {part: np.zeros(LANES, dtype=np.uint64) for part in DIGESTED}

    def update(self, layer: Layer, size: int) -> None:
        """Replace the digests of the rows of a layer; the state has `size` rows then."""
        for part in DIGESTED:
            values, known = layer[part], self._rows[part]
            if size > len(known):
                room = np.zeros((int(GROWTH * size) - len(known), LANES), dtype=np.uint64)
                known = self._rows[part] = np.concatenate([known, room])
            new = _row_digests(values)
            self._sums[part] += new.sum(axis=0) - known[values.rows].sum(axis=0)
            known[values.rows] = new

    def of(self, small: Update | Snapshot) -> str:
        """Return the digest of the state with what is small in it."""
        digest = hashlib.sha256()
        for part in DIGESTED:
            digest.update(self._sums[part].tobytes())
        for name, tensor in sorted(_small(small).items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        digest.update(_numbers(small.manifest))
        return digest.hexdigest()


def snapshot_digest(snapshot: Snapshot) -> str:
    """Digest the state of a snapshot; equal states have equal digests, full or delta."""
    digest = StateDigest()
    digest.update(snapshot.table.layer(), len(snapshot.table))
    return digest.of(snapshot)


def _small(of: Update | Snapshot) -> Mapping[str, Tensor]:
    named = put_under("encoder.", of.encoder) | put_under("values.", of.values)
    named |= put_under("latest.", of.latest)
    return {**named, **of.learned, "mixer": of.mixer, "ratings": of.ratings}


def _numbers(manifest: Manifest) -> bytes:
    scales = manifest.pair_scale, manifest.popularity_scale
    numbers = np.array([manifest.rows, *scales, manifest.scans_content]).tobytes()
    encoding = manifest.compression.vectors
    return numbers if encoding == "exact" else numbers + encoding.encode()


def _row_digests(part: RowValues) -> NDArray[np.uint64]:
    """Digest each row, ``[k, LANES]``: zeros for a row of zeros."""
    digests = np.zeros((part.rows.size, LANES), dtype=np.uint64)
    for start in range(0, part.rows.size, ROWS_AT_ONCE):
        some = part.take(np.arange(start, min(start + ROWS_AT_ONCE, part.rows.size)))
        kept = some.without_zeros()
        found = b"".join(hashlib.sha256(row).digest()[: 8 * LANES] for row in _encoded(kept))
        at = start + np.searchsorted(some.rows, kept.rows)
        digests[at] = np.frombuffer(found, dtype=np.uint64).reshape(-1, LANES)
    return digests


def _encoded(part: RowValues) -> Iterator[bytes]:
    """Encode each row with its number."""
    if part.lengths is None:
        matrix = _side_by_side(part.rows, *part.values.values())
        yield from (row.tobytes() for row in matrix)
        return
    entries = _side_by_side(*part.values.values())
    ends = (np.cumsum(part.lengths, dtype=np.int64) * entries.shape[1]).tolist()
    content = entries.tobytes()
    for row, start, end in zip(part.rows.tolist(), [0, *ends], ends, strict=False):
        yield row.to_bytes(8, "little") + content[start:end]


def _side_by_side(*columns: Array) -> NDArray[np.uint8]:
    """Return the bytes of the rows of columns ``[k, ...]``, ``[k, bytes]``."""
    return np.concatenate([_bytes_of(column) for column in columns], axis=1)


def _bytes_of(column: Array) -> NDArray[np.uint8]:
    width = column.itemsize * math.prod(column.shape[1:])
    found: NDArray[np.uint8] = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), width)
    return found
