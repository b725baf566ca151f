"""Compare a CUDA learner's state with what other processes make of it, for `benchmarks.cuda`.

Its checkpoint is restored into another CUDA learner, and its snapshot is loaded by a server on the
CPU, whose mixture is compared with the learner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotLoader
from consumers.serve.state.serving_state import ServingState, View
from pipeline.assembly import checkpoints_of
from pipeline.checkpoints.capture import capture, update_of
from pipeline.checkpoints.store import restore_from
from pipeline.config import Settings
from pipeline.eventlog import open_log
from pipeline.eventlog.port import Record
from pipeline.eventlog.topics import Topics
from pipeline.events import encode
from pipeline.journal.position import Position
from pipeline.model.backbone import load_backbone
from pipeline.retraining.comparison import next_act_mixture
from pipeline.snapshots.publisher import Publication, Publisher
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.training.learner import Learner
from tests.support.answers import mixture

PROBES, LIST_LENGTH = 200, 20
POSITION = Position(1, 1, "", 0, {}, through=0, control=0, fold_to={})


@dataclass(frozen=True)
class ServingComparison:
    """A learner beside the learner and the server that read its state.

    Attributes:
        restored: whether the learner restored from its checkpoint has the same bits.
        users: number of users asked about.
        difference: largest difference between the server's and the learner's log-probabilities.
        same_lists: share of users whose first `LIST_LENGTH` items are the same, in the same order.
        same_items: share of those items that are in both lists.
    """

    restored: bool
    users: int
    difference: float
    same_lists: float
    same_items: float


def compare_serving(settings: Settings, learner: Learner) -> ServingComparison:
    """Write a learner as checkpoint and snapshot, and compare it with those that read them."""
    restored = _restores_to_the_same_bits(settings, learner)
    users = sorted(learner.stream.histories.users())[:PROBES]
    with torch.inference_mode():
        learned: NDArray[np.float64] = next_act_mixture(learner, users).double().cpu().numpy()
    served = _served_mixture(settings, learner, users)
    difference = float(np.abs(learned - served).max())
    return ServingComparison(restored, len(users), difference, *_overlap(learned, served))


def _restores_to_the_same_bits(settings: Settings, learner: Learner) -> bool:
    checkpoints, other = checkpoints_of(settings), learner.another()
    written = checkpoints.write(capture(learner, None, POSITION))
    restore_from(checkpoints.folder / POSITION.version, other, None)
    return checkpoints.digest(capture(other, None, POSITION)) == written.digest


def _served_mixture(settings: Settings, learner: Learner, users: Sequence[str]) -> NDArray[np.float64]:
    """Compute the log-probabilities ``[users, n]`` of next acts as a server on the CPU does."""
    topics = Topics(settings.log.prefix)
    snapshot = _load_snapshot(settings, _publish(settings, learner, topics))
    view = _view(snapshot, learner, topics)
    histories, context = learner.stream.histories, settings.learn.segments.context
    rows = [mixture(view, list(histories.of(user)), None, context) for user in users]
    return np.stack(rows)


def _publish(settings: Settings, learner: Learner, topics: Topics) -> Version:
    store = SnapshotStore(settings.snapshots.store, settings.log.prefix)
    with closing(open_log(settings.log.url)) as event_log:
        topics.create(event_log, *settings.log.topic_sizes)
        with event_log.writer() as writer:
            update = update_of(learner, settings.log.prefix, POSITION, {}, "benchmark")
            publisher = Publisher(store, writer, topics, keep=1)
            manifest = publisher.publish(Publication(update, {}, [], []))
    return Version.parse(manifest.version)


def _load_snapshot(settings: Settings, version: Version) -> LoadedSnapshot:
    """Load a snapshot as a server does: from a new store, with a backbone of its own on the CPU."""
    store = SnapshotStore(settings.snapshots.store, settings.log.prefix)
    loader = SnapshotLoader(store, load_backbone(settings.model.backbone), settings.model)
    return loader.load(version)


def _view(snapshot: LoadedSnapshot, learner: Learner, topics: Topics) -> View:
    """Return the View of a server that has read the catalogue, and no act after the snapshot."""
    state = ServingState(snapshot, learner.stream.histories, {}, (topics.interactions, topics.items))
    entries = [entry for entry in learner.stream.catalogue.entries if entry is not None]
    state.read(Record(topics.items, 0, 0, 0, entry.item, encode(entry)) for entry in entries)
    return state.view()


def _overlap(learned: NDArray[np.float64], served: NDArray[np.float64]) -> tuple[float, float]:
    """Return the share of equal lists, and of items that are in both lists."""
    one, other = (np.argsort(-scores, axis=1, kind="stable")[:, :LIST_LENGTH] for scores in (learned, served))
    common = [np.intersect1d(left, right).size for left, right in zip(one, other, strict=True)]
    return float((one == other).all(axis=1).mean()), float(np.mean(common)) / one.shape[1]
