"""The learner's whole state: copied cheaply, written as files, and restored.

Capturing copies tensors and the tops of dicts and lists; what they hold is never changed in
place, so a background thread can write it while learning goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from pipeline.config import ModelSizes
from pipeline.eventlog.partitioner import partition_of
from pipeline.events import Item
from pipeline.journal.position import Position
from pipeline.model.content.adapter import Adapter
from pipeline.model.tensors import to_matrix, under
from pipeline.monitoring.supervisor import Supervisor
from pipeline.state.catalogue import Catalogue
from pipeline.state.counts import PairCounts
from pipeline.state.dedupe import SeenEvents
from pipeline.state.histories import Histories, decode_history, encode_history
from pipeline.training.learner import Learner
from pipeline.training.replay_buffer import ReplayBuffer

LEARNED, TABLE, COUNTS = "learned.safetensors", "table.safetensors", "counts.safetensors"
REPLAY, CATALOGUE, SUPERVISOR = "replay.safetensors", "catalogue.json", "supervisor.json"
ENCODER = "encoder.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class LearnerState:
    """A learner's complete state at one position.

    Attributes:
        model: sizes of the model.
        supervisor: state of its supervisor as JSON; None in a state that is only to be adopted.
    """

    position: Position
    model: ModelSizes
    encoder: Adapter
    learned: dict[str, Tensor]
    table: dict[str, Tensor]
    counts: dict[str, Tensor]
    replay: ReplayBuffer
    catalogue: Catalogue
    histories: Histories
    seen: dict[int, NDArray[np.int64]]
    supervisor: bytes | None


def to_files(captured: LearnerState, partitions: int) -> dict[str, bytes]:
    """Encode a state as files by name: shared ones, and two per partition; equal states give equal bytes."""
    entries = zip(captured.catalogue.ids, captured.catalogue.entries, strict=True)
    files = {
        ENCODER: write_tensors(dict(captured.encoder)),
        LEARNED: write_tensors(captured.learned),
        TABLE: write_tensors(captured.table),
        COUNTS: write_tensors(captured.counts),
        REPLAY: write_tensors(
            {name: torch.from_numpy(array) for name, array in captured.replay.state().items()}
        ),
        CATALOGUE: orjson.dumps([[item, entry and entry.model_dump()] for item, entry in entries]),
    }
    if captured.supervisor is not None:
        files[SUPERVISOR] = captured.supervisor
    histories: list[dict[str, str]] = [{} for _ in range(partitions)]
    for user, history in sorted(captured.histories.items()):
        histories[partition_of(user, partitions)][user] = encode_history(history, 0).decode()
    for partition in range(partitions):
        seen = captured.seen.get(partition, np.zeros(0, dtype=np.int64))
        files[f"histories-{partition}.json"] = orjson.dumps(histories[partition])
        files[f"seen-{partition}.safetensors"] = write_tensors({"digests": torch.from_numpy(seen)})
    return files


def restore(
    learner: Learner, supervisor: Supervisor | None, model: ModelSizes, files: Mapping[str, bytes]
) -> None:
    """Put a learner, and its supervisor if given, into the state that files hold.

    Args:
        learner: any; all its state is replaced.
        supervisor: None to leave it as it is, because it outlives an adoption.
        model: sizes of the model in the files.
        files: by name, as `to_files` made them.
    """
    learner.reset(learner.config.replace(sizes=model))
    learner.encoder = learner.encoder.adapted(read_tensors(files[ENCODER]))
    stream = learner.stream
    entries = orjson.loads(files[CATALOGUE])
    stream.catalogue = Catalogue((item, entry and Item.model_validate(entry)) for item, entry in entries)
    counts = read_tensors(files[COUNTS])
    stream.acts, stream.events = counts["acts"].numpy(), int(counts["events"])
    stream.popularity.counts = counts["popularity"].numpy()
    stream.covisitation.counts = _pair_counts(counts, len(stream.catalogue))
    for name, content in files.items():
        kind, _, rest = name.partition("-")
        if kind == "histories":
            for user, wire in orjson.loads(content).items():
                stream.histories.put(user, decode_history(wire.encode())[0])
        elif kind == "seen":
            digests = read_tensors(content)["digests"].tolist()
            stream.seen[int(rest.partition(".")[0])] = SeenEvents(stream.config.dedupe_window, digests)
    if supervisor is not None:
        supervisor.load(orjson.loads(files[SUPERVISOR]))
    learner.table.load(read_tensors(files[TABLE]))
    learner.replay.load({name: tensor.numpy() for name, tensor in read_tensors(files[REPLAY]).items()})
    _load_learned(learner, read_tensors(files[LEARNED]))


def _load_learned(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    learner.recommender.load_learned(under("parameter.", tensors))
    learner.mixer.load(under("mixer.", tensors))
    moments = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in MOMENTS}
    learner.optimizer.load_moments(moments)


def _pair_counts(tensors: Mapping[str, Tensor], size: int) -> PairCounts:
    base, recent = (to_matrix(name, tensors, size) for name in ("base", "recent"))
    return PairCounts(base, recent, tensors["totals"].numpy(), float(tensors["scale"]))
