"""Time travel for answers: what was asked is asked again of a server made as it was.

An impression names the snapshot, the offsets that the server had read, and what was asked.
The learner is rebuilt at the snapshot's version, so the snapshot itself may be long gone; its
catalogue and histories are those of the snapshot's offsets, and the log gives what the server
had read since. From there on everything is the server's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from consumers.serve.impressions import Asked, NotRepeatable
from consumers.serve.schemas import Recommendations
from consumers.serve.service import NO_SNAPSHOT, RecommendationService
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotLoader
from consumers.serve.state.serving_state import DEDUPE_WINDOW, ServingState
from pipeline.assembly import checkpoints_of, make_learner
from pipeline.checkpoints.capture import snapshot_of
from pipeline.checkpoints.rebuild import rebuild
from pipeline.config import Settings
from pipeline.eventlog.port import EventLog, Offsets, Record, TopicPartition, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Impression, decode, encode
from pipeline.journal.record_buffer import RecordBuffer
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.snapshots.codec import encode_full
from pipeline.snapshots.snapshot import Snapshot, Version
from pipeline.snapshots.store import SnapshotStore, digest_of
from pipeline.state.catalogue import REMOVED, Catalogue
from pipeline.training.learner import Learner

TOLERANCE = 1e-4
"""Relative; what another CPU makes of the same sums."""


class ImpressionUnknown(NotRepeatable):
    """The log holds no such impression, or not any more."""


@dataclass(frozen=True)
class AskedAgain:
    """An answer as it was given, and the one that the same question gets of the rebuilt server."""

    then: Impression
    now: Recommendations

    @property
    def same_items(self) -> bool:
        """Whether the same items are shown in the same order."""
        return self.then.items == tuple(shown.item for shown in self.now.items)

    @property
    def same_propensities(self) -> bool:
        """Whether they are as likely as they were, place by place and within `TOLERANCE`."""
        then, now = self.then.propensities, [shown.score for shown in self.now.items]
        return len(then) == len(now) and np.allclose(then, now, rtol=TOLERANCE, atol=0)

    def __str__(self) -> str:
        words = {True: "agree", False: "DIFFER"}
        found = f"items {words[self.same_items]}, propensities {words[self.same_propensities]}"
        return f"{self.then.impression_id}, answered by {self.then.snapshot}: {found}"


def ask_again(
    event_log: EventLog,
    topics: Topics,
    settings: Settings,
    impression: str,
    progress: Callable[[int], None] = lambda events: None,
) -> AskedAgain:
    """Answer what an impression answered, as it was answered; writes nothing to the log.

    Args:
        event_log, topics: where impression, journal and events are.
        settings: those that were learned and served with.
        impression: its id.
        progress: called with the number of interactions of each batch that is learned again.

    Raises:
        ImpressionUnknown: the log does not hold it.
        NotRepeatable: it was answered without a snapshot or by one that the journal does not
            know, by a server that had read less than its snapshot, or does not say what was asked.
        CheckpointCorrupt: neither the ladder nor the journal reaches back to its snapshot.
        OffsetsExpired: the log does not hold the records any more that were learned or read.
    """
    then = _impression(event_log, topics, impression)
    asked, version = Asked.of(then.context), _version(then)
    learner = make_learner(settings)
    checkpoints = checkpoints_of(settings)
    position = rebuild(event_log, topics, learner, None, checkpoints, until=version, progress=progress)
    if position.version != then.snapshot:
        raise NotRepeatable(f"{topics.journal} does not know how {then.snapshot} came about")
    # The learner may have taken its own language model to another device; servers are on the CPU.
    device = use_device("cpu", settings.model.threads)
    backbone = load_backbone(settings.model.backbone)
    snapshot = snapshot_of(learner, topics.prefix, position, {}, "asked again")
    base = _base(snapshot, backbone, settings)
    state = _state(event_log, topics, learner, base, _offsets(then))
    with closing(TextEncoder(backbone, settings.model.cache, settings.model.max_tokens, device)) as encoder:
        state.encode(encoder.adapted(base.encoder), max(0, state.pending_texts - asked.pending_texts))
    current = CurrentState()
    current.show(state.view(), learner.stream.histories, state.ahead)
    now = RecommendationService(current, settings.learn.segments.context).for_user(
        then.user, asked.session, asked.query
    )
    return AskedAgain(then, now)


def _impression(event_log: EventLog, topics: Topics, name: str) -> Impression:
    for record in read(event_log, topics.impressions):
        if record.value is not None and name.encode() in record.value:
            found = decode(Impression, record.value)
            if found.impression_id == name:
                return found
    raise ImpressionUnknown(f"{topics.impressions} holds no impression {name}")


def _version(then: Impression) -> Version:
    if then.snapshot == NO_SNAPSHOT:
        raise NotRepeatable("it was answered before there was a snapshot, with what was popular then")
    return Version.parse(then.snapshot)


def _base(snapshot: Snapshot, backbone: Backbone, settings: Settings) -> LoadedSnapshot:
    """What a server loads of a snapshot: through a store, which lies in memory, checked as any is."""
    store, files = SnapshotStore("memory://again", snapshot.manifest.model), encode_full(snapshot)
    digests = {name: digest_of(content) for name, content in files.items()}
    store.publish(snapshot.manifest.model_copy(update={"files": digests}), files)
    return SnapshotLoader(store, backbone, settings.model).load(Version.parse(snapshot.manifest.version))


def _state(
    event_log: EventLog, topics: Topics, learner: Learner, base: LoadedSnapshot, ends: Offsets
) -> ServingState:
    """What a server with this base knew that had read up to these ends."""
    if any(ends.get(source, 0) < offset for source, offset in base.offsets.items()):
        raise NotRepeatable("the server had read less than its snapshot had learned")
    state = ServingState(base, learner.stream.histories, {}, (topics.interactions, topics.items))
    state.read(_listed(topics.items, learner.stream.catalogue))
    with closing(RecordBuffer(event_log, _starts(event_log, topics, base.offsets))) as tape:
        state.read(tape.cut_to(ends))
    state.positions = dict(ends)
    return state


def _starts(event_log: EventLog, topics: Topics, learned: Offsets) -> dict[TopicPartition, int]:
    """Where the base ends; of interactions a little before that, as far as the log reaches.

    That little is what a server knows duplicates from.
    """
    begins = event_log.begin_offsets([topics.interactions])
    return {
        source: min(offset, max(begins[source], offset - DEDUPE_WINDOW)) if source in begins else offset
        for source, offset in learned.items()
    }


def _listed(topic: str, catalogue: Catalogue) -> Iterable[Record]:
    """The catalogue as the records that made it; the log itself may have compacted them away."""
    for item, entry, digest in zip(catalogue.ids, catalogue.entries, catalogue.digests, strict=True):
        if entry is not None:
            yield Record(topic, 0, 0, 0, item, None if digest == REMOVED else encode(entry))


def _offsets(then: Impression) -> dict[TopicPartition, int]:
    return {TopicPartition.parse(name): offset for name, offset in then.offsets.items()}
