"""What is published in fewer numbers or bits than it is learned in; the learner's own state stays as it is.

What is published depends on what is learned alone, that of a row on the row alone: a delta has the same rows
as a full snapshot, and equal states have equal digests, whenever they were published.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.config import CompressionConfig, VectorEncoding
from pipeline.model.encoded_vectors import int8_codes
from pipeline.snapshots.layer import SCALES, Array, Layer, RowValues
from pipeline.snapshots.pruning import pruned
from pipeline.snapshots.snapshot import Update


def compressed(update: Update, config: CompressionConfig) -> Update:
    """Compress what was captured of a learner; its manifest says how."""
    if config == update.manifest.compression:
        return update
    learned, sizes = update.learned, update.manifest.sizes
    if config.adapter_share < 1:
        learned, sizes = pruned(learned, sizes, config.adapter_share)
    return replace(
        update,
        manifest=update.manifest.model_copy(update={"compression": config, "sizes": sizes}),
        learned=learned,
        layers=[_encoded_layer(layer, config.vectors) for layer in update.layers],
    )


def _encoded_layer(layer: Layer, encoding: VectorEncoding) -> Layer:
    """Encode the vectors of items."""
    encoded = {name: _encoded(layer[name], encoding) for name in ("content", "learned")}
    return {**layer, **encoded}


def _encoded(part: RowValues, encoding: VectorEncoding) -> RowValues:
    values: dict[str, Array] = {}
    for name, array in part.values.items():
        if name not in SCALES or encoding == "exact":
            values[name] = array
        elif encoding == "float16":
            values[name] = array.astype(np.float16)
        else:
            values[name], values[SCALES[name]] = int8_codes(array)
    return replace(part, values=values)
