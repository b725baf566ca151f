"""Audit of answers: rebuild the state of the server that gave one, and answer the same query.

An impression names the snapshot, the offsets that the server had read, and the query. The
learner is rebuilt at the snapshot's version, so the snapshot itself may be long deleted. It
provides catalogue and histories as of the snapshot's offsets, and the log provides the records
that the server had read after them. All other code is the server's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from consumers.serve.impressions import Fields, NotRepeatable, StoredQuery
from consumers.serve.query import RecommendationQuery
from consumers.serve.schemas import Recommendations
from consumers.serve.service import NO_SNAPSHOT, RecommendationService, attributes_read
from consumers.serve.state.current import CurrentState
from consumers.serve.state.loaded_snapshot import LoadedSnapshot, SnapshotLoader
from consumers.serve.state.serving_state import DEDUPE_WINDOW, ServingState
from consumers.serve.state.shown import ShownItems
from consumers.serve.state.steering import Steering, steered_by
from pipeline.assembly import checkpoints_of, make_learner, make_supervisor
from pipeline.checkpoints.capture import update_of
from pipeline.checkpoints.fingerprint import fingerprint
from pipeline.checkpoints.rebuild import rebuild
from pipeline.config import RetrievalConfig, Settings
from pipeline.errors import InvalidEvent
from pipeline.eventlog.port import EventLog, Offsets, Record, TopicPartition, read
from pipeline.eventlog.topics import Topics
from pipeline.events import Impression, decode, encode, validate
from pipeline.journal.record_buffer import RecordBuffer
from pipeline.model.backbone import Backbone, load_backbone
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import use_device
from pipeline.policy.arms import CONTROL, Arm, Arms
from pipeline.policy.policies import GREEDY, recorded_policy
from pipeline.policy.port import Policy
from pipeline.snapshots.compression import compressed
from pipeline.snapshots.layer_list import store_whole
from pipeline.snapshots.snapshot import Update
from pipeline.snapshots.store import SnapshotStore
from pipeline.snapshots.version import Version
from pipeline.state.catalogue import REMOVED, Catalogue
from pipeline.training.learner import Learner

RULES_GONE = (
    "the log no longer holds the rules, or the user's attributes, of that time: they are kept for "
    "log.compaction_lag_hours after a later record has replaced them"
)
TOLERANCE = 1e-4
"""Relative; another CPU sums in another order."""


class ImpressionUnknown(NotRepeatable):
    """The log does not hold the impression, or no longer does."""


@dataclass(frozen=True)
class AnswerComparison:
    """A recorded answer, and the answer of the rebuilt server to the same query.

    Attributes:
        propensities: of the reproduced items.
        is_alike: whether settings, machine and release are those of then.
    """

    recorded: Impression
    reproduced: Recommendations
    propensities: Sequence[float]
    is_alike: bool

    @property
    def same_items(self) -> bool:
        """Whether both show the same items in the same order."""
        return self.recorded.items == tuple(shown.item for shown in self.reproduced.items)

    @property
    def same_scores(self) -> bool:
        """Whether the scores agree at each position, within `TOLERANCE`."""
        return _are_close(self.recorded.scores, [shown.score for shown in self.reproduced.items])

    @property
    def same_propensities(self) -> bool | None:
        """Whether the propensities agree at each position, within `TOLERANCE`; None if none were recorded."""
        recorded = self.recorded.propensities
        return None if recorded is None else _are_close(recorded, self.propensities)

    def __str__(self) -> str:
        words = {True: "agree", False: "DIFFER", None: "were not recorded"}
        found = (
            f"items {words[self.same_items]}, scores {words[self.same_scores]}, "
            f"propensities {words[self.same_propensities]}"
        )
        otherwise = "" if self.is_alike else "; settings, machine or release are not those of then"
        return f"{self.recorded.impression_id}, answered by {self.recorded.snapshot}: {found}{otherwise}"


def _are_close(recorded: Sequence[float], reproduced: Sequence[float]) -> bool:
    return len(recorded) == len(reproduced) and np.allclose(recorded, reproduced, rtol=TOLERANCE, atol=0)


def reproduce_answer(
    event_log: EventLog,
    topics: Topics,
    settings: Settings,
    impression: str,
    progress: Callable[[int], None] = lambda events: None,
) -> AnswerComparison:
    """Answer the query of an impression as its server did; write nothing to the log.

    Args:
        event_log, topics: hold the impression, the journal and the events.
        settings: the settings of the learner and the server at that time.
        impression: the impression's id.
        progress: called with the number of interactions of each batch that is learned again.

    Raises:
        ImpressionUnknown: the log does not hold the impression.
        NotRepeatable: the answer had no snapshot, or one that is not in the journal; its server
            had read less than its snapshot; the impression does not store the whole query; or
            this release does not have its policy.
        CheckpointCorrupt: neither a checkpoint nor the journal reaches back to the snapshot.
        OffsetsExpired: records that were learned or read have expired.
    """
    recorded = _find_impression(event_log, topics, impression)
    stored, version = StoredQuery.from_context(recorded.context), _version(recorded)
    policy = _policy(recorded)
    learner = make_learner(settings)
    position = rebuild(
        event_log, topics, learner, None, checkpoints_of(settings), until=version, progress=progress
    )
    is_alike = position.fingerprint == fingerprint(learner, make_supervisor(settings))
    if position.version != recorded.snapshot:
        raise NotRepeatable(f"{topics.journal} has no entries that lead to {recorded.snapshot}")
    # Load a second language model: the learner may have moved its own off the CPU, where servers run.
    device = use_device("cpu", settings.model.threads)
    backbone = load_backbone(settings.model.backbone, settings.model.cache)
    published = compressed(
        update_of(learner, topics.prefix, position, {}, "audit"), settings.snapshots.compression
    )
    snapshot = _load(published, backbone, settings)
    steering = Steering(topics.users, topics.rules)
    state = _state(
        event_log, topics, learner, snapshot, _offsets(recorded), steering, settings.learn.retrieval
    )
    with closing(TextEncoder(backbone, settings.model.cache, settings.model.max_tokens, device)) as encoder:
        state.encode(encoder.adapted(snapshot.encoder), max(0, state.pending_texts - stored.pending_texts))
    current = CurrentState()
    view, histories = state.view(), learner.stream.histories
    current.replace(view, histories, state.updated_histories, state.updated_older, steering)
    if steered_by(view.rules, current.attributes(recorded.user), attributes_read(view)) != stored.rules:
        raise NotRepeatable(RULES_GONE)
    submitted: list[Fields] = []
    service = RecommendationService(
        current,
        settings.learn.segments.context,
        submitted.append,
        clock=lambda: recorded.time,
        shown=_shown_before(event_log, topics, recorded, stored.query),
        arms=Arms([Arm(CONTROL, policy)]),
        writes_features=recorded.features is not None,
    )
    found = service.for_user(recorded.user, stored.session, stored.query, recorded.impression_id)
    found = found.model_copy(update={"items": found.items[: stored.shown]})
    shown = [validate(Impression, fields) for fields in submitted]
    propensities = [p for one in shown for p in one.propensities or ()]
    return AnswerComparison(recorded, found, propensities, is_alike)


def _find_impression(event_log: EventLog, topics: Topics, name: str) -> Impression:
    for record in read(event_log, topics.impressions):
        if record.value is not None and name.encode() in record.value:
            found = _readable(record.value)
            if found is not None and found.impression_id == name:
                return found
    raise ImpressionUnknown(f"{topics.impressions} holds no impression {name}")


def _readable(wire: bytes) -> Impression | None:
    """Decode an impression; None for what is none, which servers do not read either."""
    try:
        return decode(Impression, wire)
    except InvalidEvent:
        return None


def _shown_before(
    event_log: EventLog, topics: Topics, recorded: Impression, query: RecommendationQuery
) -> ShownItems:
    """Return what the user was shown before; impressions of a user are in one partition, in order."""
    shown = ShownItems()
    needs_them = query.exclude_shown_ms or recorded.features is not None
    for record in read(event_log, topics.impressions) if needs_them else ():
        if record.key == recorded.user and record.value is not None:
            earlier = _readable(record.value)
            if earlier is None:
                continue
            if earlier.impression_id == recorded.impression_id:
                break
            shown.add(earlier.impression_id, earlier.user, earlier.items, earlier.time)
    return shown


def _policy(recorded: Impression) -> Policy:
    """Return what made the slate; before policies were recorded, all were greedy."""
    if recorded.policy is None or recorded.policy_version is None:
        return GREEDY
    try:
        return recorded_policy(recorded.policy, recorded.policy_version)
    except ValueError:
        raise NotRepeatable(
            f"this release has no policy {recorded.policy} of the version {recorded.policy_version!r}"
        ) from None


def _version(recorded: Impression) -> Version:
    if recorded.snapshot == NO_SNAPSHOT:
        raise NotRepeatable("the answer was given before there was a snapshot, and has popular items")
    return Version.parse(recorded.snapshot)


def _load(update: Update, backbone: Backbone, settings: Settings) -> LoadedSnapshot:
    """Load a whole update as a server does, with all checks, through a store in memory."""
    store = SnapshotStore("memory://audit", update.manifest.model)
    store_whole(update, store)
    loader = SnapshotLoader(store, backbone, settings.model, settings.serve)
    return loader.load(Version.parse(update.manifest.version))


def _state(
    event_log: EventLog,
    topics: Topics,
    learner: Learner,
    snapshot: LoadedSnapshot,
    ends: Offsets,
    steering: Steering,
    retrieval: RetrievalConfig,
) -> ServingState:
    """Build the state of a server with this snapshot that had read up to `ends`."""
    if any(ends.get(source, 0) < offset for source, offset in snapshot.offsets.items()):
        raise NotRepeatable("the server had read less than its snapshot had learned")
    state = ServingState(
        snapshot,
        learner.stream.histories,
        {},
        (topics.interactions, topics.items),
        steering=steering,
        retrieval=retrieval,
    )
    state.read(_steering_records(event_log, topics, ends))
    state.read(_catalogue_records(topics.items, learner.stream.catalogue))
    with closing(RecordBuffer(event_log, _start_offsets(event_log, topics, snapshot.offsets))) as buffer:
        state.read(buffer.cut_to(ends))
    state.positions = dict(ends)
    return state


def _steering_records(event_log: EventLog, topics: Topics, ends: Offsets) -> Iterator[Record]:
    """Yield the records of users and rules that the server had read."""
    for topic in (topics.users, topics.rules):
        for record in read(event_log, topic):
            if record.offset < ends.get(record.source, 0):
                yield record


def _start_offsets(event_log: EventLog, topics: Topics, learned: Offsets) -> dict[TopicPartition, int]:
    """Return where to start reading: the snapshot's end; for interactions `DEDUPE_WINDOW` before it.

    A server recognises duplicates from these earlier interactions. Those that expired are left out.
    """
    begins = event_log.begin_offsets([topics.interactions])
    return {
        source: min(offset, max(begins[source], offset - DEDUPE_WINDOW)) if source in begins else offset
        for source, offset in learned.items()
    }


def _catalogue_records(topic: str, catalogue: Catalogue) -> Iterable[Record]:
    """Yield records that make up the catalogue; compaction may have removed the original ones."""
    for item, entry, digest in zip(catalogue.ids, catalogue.entries, catalogue.digests, strict=True):
        if entry is not None:
            yield Record(topic, 0, 0, 0, item, None if digest == REMOVED else encode(entry))


def _offsets(recorded: Impression) -> dict[TopicPartition, int]:
    return {TopicPartition.parse(name): offset for name, offset in recorded.offsets.items()}
