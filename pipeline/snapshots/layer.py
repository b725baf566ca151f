"""Layers: the rows of a snapshot that changed within some steps, with their values after these steps.

A snapshot is a list of layers, oldest first; the last value of each row counts. A layer has nine parts,
each with rows of its own. Counts are stored, to be multiplied by the manifest's scales.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config import VectorEncoding
from pipeline.state.counts import PairRows, spans

Array = NDArray[Any]


class PartForm(NamedTuple):
    """Form of a part: number types by the name of its values, which of them are vectors, and whether the
    rows have different lengths.
    """

    values: Mapping[str, str]
    wide: frozenset[str] = frozenset()
    ragged: bool = False


CONTENT, RESIDUAL = frozenset({"vectors"}), frozenset({"residual"})
PARTS: Mapping[str, PartForm] = {
    "items": PartForm({"text": "U8"}, ragged=True),
    "content": PartForm({"vectors": "F16"}, wide=CONTENT),
    "learned": PartForm({"residual": "F32", "bias": "F32"}, wide=RESIDUAL),
    "rated": PartForm({"effects": "F32"}),
    "popularity": PartForm({"counts": "F64"}),
    "pairs": PartForm({"columns": "I32", "counts": "F64"}, ragged=True),
    "scanned": PartForm({"items": "I64"}),
    "centroids": PartForm({"vectors": "F32"}, wide=frozenset({"vectors"})),
    "indexed": PartForm({"lists": "I32"}),
}
"""A text of `items` is a content digest, a space, and the item's id, as UTF-8. The last three say how the
catalogue is searched, see `pipeline.retrieval`: `scanned` has the catalogue row of each slot plus one, or 0
for a slot that is empty now; `centroids` are written once, all together; a list of `indexed` is the number of
the row's centroid plus one, or 0."""
SCALES = {"vectors": "vector_scales", "residual": "residual_scales"}
"""Names of the scales of vectors of 8 bits: a number is its code times the scale of its row."""
ENCODED_PARTS: Mapping[VectorEncoding, Mapping[str, PartForm]] = {
    "exact": PARTS,
    "float16": {**PARTS, "learned": PartForm({"residual": "F16", "bias": "F32"}, wide=RESIDUAL)},
    "int8": {
        **PARTS,
        "content": PartForm({"vectors": "I8", SCALES["vectors"]: "F32"}, wide=CONTENT),
        "learned": PartForm({"residual": "I8", SCALES["residual"]: "F32", "bias": "F32"}, wide=RESIDUAL),
    },
}
"""The parts by how their vectors are encoded; a list of layers has one encoding."""
ROWS, LENGTHS = "rows", "lengths"


@dataclass(frozen=True)
class RowValues:
    """Values of k rows.

    Attributes:
        rows: ``[k]``, ascending.
        values: ``[k, ...]`` by name; with lengths, those of one row after those of another.
        lengths: ``[k]`` how many values each row has; None if each has one.
    """

    rows: NDArray[np.int64]
    values: Mapping[str, Array]
    lengths: NDArray[np.int32] | None = None

    def take(self, chosen: NDArray[np.int64]) -> RowValues:
        """Return the rows at some indices."""
        if self.lengths is None:
            found = {name: values[chosen] for name, values in self.values.items()}
            return RowValues(self.rows[chosen], found)
        starts, lengths = np.cumsum(self.lengths, dtype=np.int64) - self.lengths, self.lengths[chosen]
        at = spans(starts[chosen], lengths.astype(np.int64))
        return RowValues(self.rows[chosen], {name: of[at] for name, of in self.values.items()}, lengths)

    def without_zeros(self) -> RowValues:
        """Leave out rows of zeros; of rows of pairs, the counts are the last values."""
        is_set = np.zeros(self.rows.size, dtype=np.bool_)
        if self.lengths is None:
            for values in self.values.values():
                is_set |= values.any(axis=tuple(range(1, values.ndim)))
        else:
            of_row = np.repeat(np.arange(self.rows.size), self.lengths)
            is_set[of_row[[*self.values.values()][-1] != 0]] = True
        return self.take(np.flatnonzero(is_set))


Layer = Mapping[str, RowValues]
"""The parts of a layer by their names in `PARTS`."""


def merged(layers: Sequence[Layer]) -> Layer:
    """Merge layers, oldest first: of each row, keep the last value."""
    return {part: _latest([layer[part] for layer in layers]) for part in PARTS}


def texts_of(items: Iterable[tuple[str, str]], rows: NDArray[np.int64]) -> RowValues:
    """Make the part `items` of ids with their content digests."""
    texts = [f"{digest} {item}".encode() for item, digest in items]
    lengths = np.array([len(text) for text in texts], dtype=np.int32)
    return RowValues(rows, {"text": np.frombuffer(b"".join(texts), dtype=np.uint8)}, lengths)


def pairs_of(rows: NDArray[np.int64], stored: PairRows) -> RowValues:
    """Make the part `pairs` of the stored counts of rows."""
    values: dict[str, Array] = {"columns": stored.columns, "counts": stored.values}
    return RowValues(rows, values, stored.lengths.astype(np.int32))


def scanned_of(slots: NDArray[np.int64], scanned: NDArray[np.int64]) -> RowValues:
    """Make the part `scanned` of slots, given the scanned rows ``[r]``; slots from r on are empty."""
    padded = np.append(scanned + 1, 0)
    return RowValues(slots, {"items": padded[np.minimum(slots, scanned.size)]})


def centroids_of(centroids: NDArray[np.float32] | None, width: int) -> RowValues:
    """Make the part `centroids` of all of them, ``[c, d]``; None without any."""
    centroids = np.zeros((0, width), dtype=np.float32) if centroids is None else centroids
    return RowValues(np.arange(len(centroids)), {"vectors": centroids})


def items_in(part: RowValues) -> list[tuple[str, str]]:
    """Read ids and content digests from the part `items`.

    Raises:
        ValueError: a text is not UTF-8.
    """
    assert part.lengths is not None
    content, ends = part.values["text"].tobytes(), np.cumsum(part.lengths, dtype=np.int64).tolist()
    texts = (
        content[end - length : end].decode() for end, length in zip(ends, part.lengths.tolist(), strict=True)
    )
    return [(item, digest) for digest, _, item in (text.partition(" ") for text in texts)]


def arrays_of(layer: Layer) -> dict[str, Array]:
    """Name the arrays of a layer as its file does."""
    arrays: dict[str, Array] = {}
    for part, found in layer.items():
        named = {ROWS: found.rows, **found.values}
        if found.lengths is not None:
            named[LENGTHS] = found.lengths
        arrays |= {f"{part}.{name}": array for name, array in named.items()}
    return arrays


def layer_of(arrays: Mapping[str, Array]) -> Layer:
    """Put a layer together from the arrays of its file, which have the forms of one."""
    parts = ENCODED_PARTS["int8"] if f"content.{SCALES['vectors']}" in arrays else PARTS
    return {
        part: RowValues(
            arrays[f"{part}.{ROWS}"],
            {name: arrays[f"{part}.{name}"] for name in form.values},
            arrays[f"{part}.{LENGTHS}"] if form.ragged else None,
        )
        for part, form in parts.items()
    }


def _latest(parts: Sequence[RowValues]) -> RowValues:
    joined = _joined(parts)
    order = np.argsort(joined.rows, kind="stable")
    rows, is_last = joined.rows[order], np.ones(order.size, dtype=np.bool_)
    is_last[:-1] = rows[1:] != rows[:-1]
    return joined.take(order[is_last])


def _joined(parts: Sequence[RowValues]) -> RowValues:
    values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    lengths = [part.lengths for part in parts if part.lengths is not None]
    rows = np.concatenate([part.rows for part in parts])
    return RowValues(rows, values, np.concatenate(lengths) if lengths else None)
