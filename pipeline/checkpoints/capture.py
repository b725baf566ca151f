"""Capture: copies of a learner's whole state for a checkpoint, and of its public part for a snapshot."""

from __future__ import annotations

import orjson
import scipy.sparse as sp
import torch
from torch import Tensor

from pipeline.checkpoints.state import LearnerState
from pipeline.evaluation.prequential import Report
from pipeline.eventlog.port import named
from pipeline.journal.position import Position
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.snapshot import Manifest, Snapshot
from pipeline.state.stream import StreamState
from pipeline.training.learner import Learner


def capture(learner: Learner, supervisor: Supervisor | None, position: Position) -> LearnerState:
    """Copy a learner's state and its supervisor's; some ten milliseconds for ten thousand items.

    A state that is only to be adopted needs no supervisor: the adopting learner keeps its own.
    """
    stream = learner.stream
    return LearnerState(
        position=position,
        model=learner.config.sizes,
        encoder=learner.encoder.adapter,
        learned=_learned(learner),
        table=learner.table.state(),
        counts={**_counts(stream), "scanned": torch.from_numpy(learner.retriever.scanned)},
        replay=learner.replay.copy(),
        catalogue=stream.catalogue.copy(),
        histories=stream.histories.copy(),
        seen={partition: seen.to_array() for partition, seen in sorted(stream.seen.items())},
        supervisor=orjson.dumps(supervisor.state()) if supervisor else None,
    )


def snapshot_of(learner: Learner, model: str, position: Position, quality: Report, reason: str) -> Snapshot:
    """Copy the state that servers need; some milliseconds for ten thousand items."""
    stream = learner.stream
    rows = learner.table.all()
    items = dict(zip(stream.catalogue.ids, stream.catalogue.digests, strict=True))
    learned = {name: _copied(parameter) for name, parameter in learner.recommender.learned().items()}
    manifest = Manifest(
        model=model,
        version=position.version,
        kind="full",
        reason=reason,
        digest="",
        files={},
        backbone=learner.encoder.backbone_digest,
        max_tokens=learner.encoder.max_tokens,
        sizes=learner.config.sizes,
        signals=learner.signals,
        rows=len(items),
        items=items,
        offsets=named(position.offsets),
        topic_ids=dict(position.topic_ids),
        learned_through=position.through,
        published_at=0,
        events=stream.events,
        quality=quality,
    )
    return Snapshot(
        manifest=manifest,
        items=items,
        encoder=learner.encoder.adapter,
        learned=learned,
        mixer=_copied(learner.mixer.weights),
        content=_copied(rows.content),
        residual=_copied(rows.residual),
        bias=_copied(rows.bias),
        covisitation_base=sp.csr_array((len(items), len(items))),
        covisitation_recent=stream.covisitation.counts.to_csr(),
        covisitation_scale=1.0,
        popularity=stream.popularity.counts,
    )


def _counts(stream: StreamState) -> dict[str, Tensor]:
    """Copy the counts of a stream state; as they are stored, so that they go on as they are."""
    pairs, popularity = stream.covisitation.counts, stream.popularity
    stored = {name: torch.from_numpy(array) for name, array in pairs.all_stored()._asdict().items()}
    return {
        **stored,
        "scale": torch.tensor(pairs.scale, dtype=torch.float64),
        "popularity": torch.from_numpy(popularity.all_stored()),
        "popularity_scale": torch.tensor(popularity.scale, dtype=torch.float64),
        "acts": torch.from_numpy(stream.acts.copy()),
        "events": torch.tensor(stream.events),
    }


def _copied(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU."""
    return tensor.detach().to("cpu", copy=True)


def _learned(learner: Learner) -> dict[str, Tensor]:
    """Parameters, AdamW's moments and the mixer, by dotted name."""
    named = learner.recommender.learned()
    tensors = {f"parameter.{name}": parameter.detach().clone() for name, parameter in named.items()}
    tensors |= learner.optimizer.moments()
    return tensors | {f"mixer.{name}": tensor for name, tensor in learner.mixer.state().items()}
