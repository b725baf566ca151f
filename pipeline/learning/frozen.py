"""The learner's whole state, frozen: copied cheaply, written as files, and put back.

Freezing copies tensors and the tops of dicts and lists; what they hold is never changed in
place, so a background thread can write it while learning goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from pipeline.eventlog.partitioner import partition_of
from pipeline.events import Item
from pipeline.learning.learner import Learner
from pipeline.learning.position import Position
from pipeline.learning.replay import Reservoir
from pipeline.model.content.adapter import Adapter
from pipeline.model.recommender import ModelShape
from pipeline.model.tensors import of_matrix, to_matrix, under
from pipeline.state.catalogue import Catalogue
from pipeline.state.counts import PairCounts
from pipeline.state.dedupe import SeenEvents
from pipeline.state.histories import Histories, decode_history, encode_history

LEARNED, TABLE, COUNTS = "learned.safetensors", "table.safetensors", "counts.safetensors"
REPLAY, CATALOGUE, OVERSEER = "replay.safetensors", "catalogue.json", "overseer.json"
ENCODER = "encoder.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Frozen:
    """Everything that a learner is, as of one position; `model` says of which sizes."""

    position: Position
    model: ModelShape
    encoder: Adapter
    learned: dict[str, Tensor]
    table: dict[str, Tensor]
    counts: dict[str, Tensor]
    replay: Reservoir
    catalogue: Catalogue
    histories: Histories
    seen: dict[int, NDArray[np.int64]]
    overseer: bytes


def freeze(learner: Learner, position: Position) -> Frozen:
    """Copy a learner's state; some ten milliseconds for ten thousand items."""
    stream = learner.stream
    return Frozen(
        position=position,
        model=learner.shape.model,
        encoder=learner.encoder.adapter,
        learned=_learned(learner),
        table=learner.table.state(),
        counts={
            **of_matrix("base", stream.memory.counts.base),
            **of_matrix("recent", stream.memory.counts.recent),
            "totals": torch.from_numpy(stream.memory.counts.totals),
            "scale": torch.tensor(stream.memory.counts.scale, dtype=torch.float64),
            "popularity": torch.from_numpy(stream.popularity.counts),
            "acts": torch.from_numpy(stream.acts),
            "events": torch.tensor(stream.events),
        },
        replay=learner.replay.copy(),
        catalogue=stream.catalogue.copy(),
        histories=stream.histories.copy(),
        seen={partition: seen.to_array() for partition, seen in sorted(stream.seen.items())},
        overseer=orjson.dumps(learner.overseer.state()),
    )


def to_files(frozen: Frozen, partitions: int) -> dict[str, bytes]:
    """The state as files by name: shared ones, and two a partition; equal states, equal bytes."""
    entries = zip(frozen.catalogue.ids, frozen.catalogue.entries, strict=True)
    files = {
        ENCODER: write_tensors(dict(frozen.encoder)),
        LEARNED: write_tensors(frozen.learned),
        TABLE: write_tensors(frozen.table),
        COUNTS: write_tensors(frozen.counts),
        REPLAY: write_tensors(
            {name: torch.from_numpy(array) for name, array in frozen.replay.state().items()}
        ),
        OVERSEER: frozen.overseer,
        CATALOGUE: orjson.dumps([[item, entry and entry.model_dump()] for item, entry in entries]),
    }
    histories: list[dict[str, str]] = [{} for _ in range(partitions)]
    for user, history in sorted(frozen.histories.items()):
        histories[partition_of(user, partitions)][user] = encode_history(history, 0).decode()
    for partition in range(partitions):
        seen = frozen.seen.get(partition, np.zeros(0, dtype=np.int64))
        files[f"histories-{partition}.json"] = orjson.dumps(histories[partition])
        files[f"seen-{partition}.safetensors"] = write_tensors({"digests": torch.from_numpy(seen)})
    return files


def restore(
    learner: Learner, model: ModelShape, files: Mapping[str, bytes], *, overseer: bool = True
) -> None:
    """Put a learner into the state that files hold, of a model of the given sizes.

    Its overseer only if asked to: it outlives an adoption.
    """
    learner.begin(replace(learner.shape, model=model))
    learner.encoder = learner.encoder.adapted(read_tensors(files[ENCODER]))
    stream = learner.stream
    entries = orjson.loads(files[CATALOGUE])
    stream.catalogue = Catalogue((item, entry and Item.model_validate(entry)) for item, entry in entries)
    counts = read_tensors(files[COUNTS])
    stream.acts, stream.events = counts["acts"].numpy(), int(counts["events"])
    stream.popularity.counts = counts["popularity"].numpy()
    stream.memory.counts = _pair_counts(counts, len(stream.catalogue))
    for name, content in files.items():
        kind, _, rest = name.partition("-")
        if kind == "histories":
            for user, wire in orjson.loads(content).items():
                stream.histories.put(user, decode_history(wire.encode())[0])
        elif kind == "seen":
            digests = read_tensors(content)["digests"].tolist()
            stream.seen[int(rest.partition(".")[0])] = SeenEvents(stream.shape.dedupe_window, digests)
    if overseer:
        learner.overseer.load(orjson.loads(files[OVERSEER]))
    learner.table.load(read_tensors(files[TABLE]))
    learner.replay.load({name: tensor.numpy() for name, tensor in read_tensors(files[REPLAY]).items()})
    _load_learned(learner, read_tensors(files[LEARNED]))


def _learned(learner: Learner) -> dict[str, Tensor]:
    """Parameters, AdamW's moments and the mixer, by dotted name."""
    named = learner.recommender.learned()
    tensors = {f"parameter.{name}": parameter.detach().clone() for name, parameter in named.items()}
    tensors |= learner.descent.moments()
    return tensors | {f"mixer.{name}": tensor for name, tensor in learner.mixer.state().items()}


def _load_learned(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    learner.recommender.load_learned(under("parameter.", tensors))
    learner.mixer.load(under("mixer.", tensors))
    moments = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in MOMENTS}
    learner.descent.load_moments(moments)


def _pair_counts(tensors: Mapping[str, Tensor], size: int) -> PairCounts:
    base, recent = (to_matrix(name, tensors, size) for name in ("base", "recent"))
    return PairCounts(base, recent, tensors["totals"].numpy(), float(tensors["scale"]))
