"""Capture: copies of a learner's whole state for a checkpoint, and of its public part for a snapshot."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.checkpoints.state import CENTROIDS, LISTS, LearnerState
from pipeline.evaluation.prequential import Report
from pipeline.eventlog.port import named
from pipeline.eventlog.topics import Topics
from pipeline.journal.position import Position
from pipeline.model.tensors import put_under
from pipeline.monitoring.supervisor import Supervisor
from pipeline.snapshots.layer import Layer, RowValues, centroids_of, pairs_of, scanned_of, texts_of
from pipeline.snapshots.snapshot import Manifest, Update
from pipeline.state.stream import StreamState
from pipeline.training.learner import Learner


def capture(learner: Learner, supervisor: Supervisor | None, position: Position) -> LearnerState:
    """Capture a learner's state and its supervisor's, without a copy of the item table.

    A state that is only to be adopted needs no supervisor: the adopting learner keeps its own.
    """
    stream = learner.stream
    return LearnerState(
        position=position,
        model=learner.config.sizes,
        backbone=learner.encoder.backbone_digest,
        max_tokens=learner.encoder.max_tokens,
        encoder=learner.encoder.adapter,
        learned=_learned(learner),
        table=learner.table.captured(),
        counts={**_counts(stream), "scanned": torch.from_numpy(learner.retriever.choice.rows)},
        replay=learner.replay.copy(),
        catalogue=stream.catalogue.copy(),
        histories=stream.histories.copy(),
        profiles=stream.profiles.copy(),
        seen={partition: seen.to_array() for partition, seen in sorted(stream.seen.items())},
        outcomes=stream.outcomes.state(),
        values=learner.values.state(),
        ratings=learner.ratings.state(),
        supervisor=orjson.dumps(supervisor.state()) if supervisor else None,
    )


class ChangedState(NamedTuple):
    """The rows of a learner's public state that changed, by part; each ascending.

    Attributes:
        scanned: slots of the scanned rows.
        has_new_centroids: whether there are centroids that there were not before.
    """

    items: NDArray[np.int64]
    content: NDArray[np.int64]
    learned: NDArray[np.int64]
    rated: NDArray[np.int64]
    popularity: NDArray[np.int64]
    pairs: NDArray[np.int64]
    scanned: NDArray[np.int64]
    has_new_centroids: bool


def take_changed(learner: Learner) -> ChangedState:
    """Return what changed since it was last taken, and forget it."""
    stream, table, choice = learner.stream, learner.table.take_changed(), learner.retriever.take_changed()
    return ChangedState(
        np.array(stream.catalogue.take_changed(), dtype=np.int64),
        table.content,
        table.learned,
        learner.ratings.take_changed(),
        stream.popularity.take_changed(),
        stream.covisitation.counts.take_changed(),
        *choice,
    )


def update_of(
    learner: Learner,
    model: str,
    position: Position,
    quality: Report,
    reason: str,
    changed: ChangedState | None = None,
) -> Update:
    """Copy what servers need: what is small, and the rows that changed, or all.

    Its offsets are those of the topics whose records it covers, see `Topics.not_in_snapshots`. The cost
    follows the number of rows: 1,500 of width 384 take some milliseconds.
    """
    stream, others = learner.stream, Topics(model).not_in_snapshots
    manifest = Manifest(
        model=model,
        version=position.version,
        kind="full",
        reason=reason,
        digest="",
        files={},
        layers=(),
        pair_scale=stream.covisitation.counts.scale,
        popularity_scale=stream.popularity.scale,
        backbone=learner.encoder.backbone_digest,
        max_tokens=learner.encoder.max_tokens,
        sizes=learner.config.sizes,
        signals=learner.signals,
        ratings=learner.ratings.config,
        rows=len(stream.catalogue),
        scans_content=learner.table.has_content,
        offsets=named({source: at for source, at in position.offsets.items() if source.topic not in others}),
        topic_ids={topic: name for topic, name in position.topic_ids.items() if topic not in others},
        learned_through=position.through,
        published_at=0,
        events=stream.events,
        quality=quality,
    )
    return Update(
        manifest=manifest,
        encoder=learner.encoder.adapter,
        learned={name: _copied(parameter) for name, parameter in learner.recommender.learned().items()},
        mixer=_copied(learner.mixer.weights),
        ratings=torch.from_numpy(learner.ratings.model()),
        values={
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name, array in learner.values.model().items()
        },
        latest={name: torch.from_numpy(array) for name, array in stream.popularity.latest.sums().items()},
        layers=[_layer(learner, changed or _all_rows(learner))],
        is_whole=changed is None,
    )


def _all_rows(learner: Learner) -> ChangedState:
    """Return all rows that are not zero."""
    stream, (content, residual, bias) = learner.stream, learner.table.all()
    rows = np.arange(len(stream.catalogue))
    is_learned = residual.detach().any(dim=1) | (bias.detach() != 0)
    return ChangedState(
        items=rows,
        content=content.any(dim=1).nonzero().squeeze(1).cpu().numpy(),
        learned=is_learned.nonzero().squeeze(1).cpu().numpy(),
        rated=learner.ratings.rated_rows(),
        popularity=rows[stream.popularity.stored(rows) != 0],
        pairs=rows[stream.covisitation.counts.lengths != 0],
        scanned=np.arange(learner.retriever.choice.rows.size),
        has_new_centroids=learner.retriever.choice.centroids is not None,
    )


def _layer(learner: Learner, changed: ChangedState) -> Layer:
    """Copy rows."""
    stream, table, choice = learner.stream, learner.table.all(), learner.retriever.choice
    centroids = choice.centroids if changed.has_new_centroids else None
    indexed = _indexed(learner, changed)
    effects = learner.ratings.effects(changed.rated).astype(np.float32)
    ids, digests = stream.catalogue.ids, stream.catalogue.digests
    vectors, residual, bias = (
        column.detach()[torch.from_numpy(rows).to(column.device)].cpu().numpy()
        for column, rows in zip(table, (changed.content, changed.learned, changed.learned), strict=True)
    )
    return {
        "items": texts_of([(ids[row], digests[row]) for row in changed.items.tolist()], changed.items),
        "content": RowValues(changed.content, {"vectors": vectors}),
        "learned": RowValues(changed.learned, {"residual": residual, "bias": bias}),
        "rated": RowValues(changed.rated, {"effects": effects}),
        "popularity": RowValues(changed.popularity, {"counts": stream.popularity.stored(changed.popularity)}),
        "pairs": pairs_of(changed.pairs, stream.covisitation.counts.stored(changed.pairs)),
        "scanned": scanned_of(changed.scanned, choice.rows),
        "centroids": centroids_of(centroids, vectors.shape[1]),
        "indexed": RowValues(indexed, {"lists": learner.retriever.lists[indexed]}),
    }


def _indexed(learner: Learner, changed: ChangedState) -> NDArray[np.int64]:
    """Return the rows that may have another list than before: all, if there are centroids now."""
    if learner.retriever.choice.centroids is None:
        return changed.content[:0]
    return np.flatnonzero(learner.retriever.lists) if changed.has_new_centroids else changed.content


def _counts(stream: StreamState) -> dict[str, Tensor]:
    """Copy the counts of a stream state; as they are stored, so that they go on as they are."""
    pairs, popularity = stream.covisitation.counts, stream.popularity
    stored = {name: torch.from_numpy(array) for name, array in pairs.all_stored()._asdict().items()}
    latest = {name: torch.from_numpy(array) for name, array in popularity.latest.state().items()}
    return {
        **stored,
        **put_under("latest.", latest),
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
    """Parameters, the optimizer's moments and the mixer, by dotted name."""
    named = learner.recommender.learned()
    tensors = {f"parameter.{name}": parameter.detach().clone() for name, parameter in named.items()}
    tensors |= learner.optimizer.moments()
    tensors |= put_under("mixer.", learner.mixer.state())
    centroids = learner.retriever.choice.centroids
    if centroids is None:
        return tensors
    index = {CENTROIDS: centroids, LISTS: learner.retriever.lists.copy()}
    return {**tensors, **{name: torch.from_numpy(array) for name, array in index.items()}}
