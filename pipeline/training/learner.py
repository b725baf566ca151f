"""The learner: scores a MicroBatch with the model as it is, then learns it, in one forward pass.

The forward pass over new Segments gives the prequential scores, the loss and the
gradient; a Segment of n acts costs one sequence and trains n targets. Replayed Segments
share the pass but have a mean of their own: measured, one mean over all targets lets
replay drown the new events (HR@20 .326), two means do not (.339).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import LearnerConfig, ModelSizes, SignalsConfig
from pipeline.evaluation.prequential import (
    COLD_BELOW,
    Scores,
    Targets,
    empty_scores,
)
from pipeline.events import CatalogueRecord, Interaction, InteractionType, event_digest
from pipeline.model.backbone import Backbone
from pipeline.model.content.adapter import NO_ADAPTER, Adapter
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import fast_products, release_freed_memory
from pipeline.model.item_table import ItemTable
from pipeline.model.losses import Negatives, draw_negatives
from pipeline.model.mixer import Mixer, ScorerOutputs
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts, score_segments
from pipeline.model.warm_start import warm_start
from pipeline.retrieval.retriever import Retriever
from pipeline.state.catalogue import upserted
from pipeline.state.histories import Act
from pipeline.state.micro_batch import MicroBatch
from pipeline.state.segments import Segment, chunks
from pipeline.state.stream import StreamState
from pipeline.training.forward import Pass, forward
from pipeline.training.optimizer import OptimizerStep, Touched
from pipeline.training.prequential import (
    Scored,
    Scorers,
    is_audited,
    score_among_candidates,
    score_in_full,
)
from pipeline.training.replay_buffer import ReplayBuffer
from pipeline.training.rng import Purpose, random_for

log = logging.getLogger(__name__)

RELEASE_EVERY = 32
"""Batches after which freed memory is released; the next one pays some page faults for it."""


class Learner:
    """Stream state and learned state, moved forward one MicroBatch at a time.

    Attributes:
        born: its configuration as the settings have it.
        config: its configuration now; the model's sizes may be those of an adopted state.
        signals: what acts say, as the settings have it.
        encoder: of texts; its adapter may be that of an adopted state.
    """

    def __init__(
        self,
        config: LearnerConfig,
        backbone: Backbone,
        encoder: TextEncoder,
        device: torch.device,
        signals: SignalsConfig = SignalsConfig(),  # noqa: B008 (frozen)
    ) -> None:
        self.born = config
        self.signals = signals
        self._backbone = backbone
        self.encoder = encoder
        self.device = device
        self.reset(config)

    def reset(self, config: LearnerConfig) -> None:
        """Reset all state, to a model of the given sizes."""
        self.config = config
        self.encoder = self.encoder.adapted(NO_ADAPTER)
        self.stream = StreamState(config.stream, said=self.signals)
        self.recommender = self._new_recommender(config.sizes)
        self.table = ItemTable(self._backbone.width, self.device, config.optimizer.rows)
        self.mixer = Mixer(config.mixer_rate, self.device)
        self.replay = ReplayBuffer(config.replay.capacity)
        self.retriever = Retriever(config.retrieval)
        self.optimizer = self._optimizer()

    def grow_to(self, sizes: ModelSizes) -> None:
        """Grow the model, warm-started from this one; reset the optimizer.

        Raises:
            ValueError: the new model is smaller.
        """
        small, small_sizes = self.recommender, self.config.sizes
        self.config = self.config.replace(sizes=sizes)
        self.recommender = self._new_recommender(sizes)
        warm_start(self.recommender, sizes, small, small_sizes)
        self.optimizer = self._optimizer()

    def reencode(self, adapter: Adapter) -> None:
        """Encode the whole catalogue, and later texts, with another adapter of the language model."""
        self.encoder = self.encoder.adapted(adapter)
        self._encode(range(len(self.stream.catalogue)))

    def another(self) -> Learner:
        """Make a learner that has seen nothing, configured as this one was; the backbone is shared."""
        return Learner(self.born, self._backbone, self.encoder, self.device, self.signals)

    def first_seen(self, partition: int, event: Interaction) -> bool:
        """Remember an event of a partition; False if it is a duplicate.

        Raises:
            InvalidEvent: another event has the same id.
        """
        return self.stream.first_seen(partition, event)

    def has_new_text(self, record: CatalogueRecord) -> bool:
        """Return whether a record, by itself, has a text that must be encoded."""
        return not isinstance(record, str) and not self.encoder.knows(upserted(None, record).text)

    def score_and_learn(self, batch: MicroBatch) -> Scores:
        """Score and learn the batch, unless it is to be folded only; fold it into the stream state."""
        self._ingest(batch)
        self._take_back(batch.interactions)
        self.retriever.update(batch.step, self.table, self.stream.popularity)
        segments, targets = self._segments(batch.interactions)
        scores = self._learn(batch, segments, targets) if batch.learns and targets.users else empty_scores()
        self.stream.fold(batch.interactions)
        if batch.step % RELEASE_EVERY == 0:
            release_freed_memory()
        return scores

    def scorer_outputs(self, segments: Sequence[Segment], users: Tensor) -> Iterator[ScorerOutputs]:
        """Score the segments' m targets with every scorer; `users` ``[m, d]`` are the vectors before each."""
        stream, items = self.stream, self.table.padded()
        return score_segments(
            segments, users, self.recommender, items, stream.covisitation, stream.popularity
        )

    def mixture(self, segments: Sequence[Segment], users: Tensor) -> Tensor:
        """Mix the scorers' outputs: log-probabilities ``[m, n]``."""
        return torch.cat(
            [self.mixer.log_probabilities(given) for given in self.scorer_outputs(segments, users)]
        )

    def _ingest(self, batch: MicroBatch) -> None:
        """Upsert the items, and give a row to each item that only an interaction names."""
        rows = sorted(set(self.stream.ingest(batch.items)))
        for event in batch.interactions:
            self.stream.catalogue.row(event.item)
        self.stream.grow()
        self.table.grow(len(self.stream.catalogue))
        self._encode(rows)

    def _take_back(self, events: Sequence[Interaction]) -> None:
        """Stop replaying purchases that were returned."""
        returned = [event for event in events if event.type is InteractionType.RETURN]
        if returned:
            row = self.stream.catalogue.row
            self.replay.take_back([(event_digest(event.user), row(event.item)) for event in returned])

    def _encode(self, rows: Sequence[int]) -> None:
        """Give rows the content vectors of their texts."""
        content = self.encoder.encode([self.stream.catalogue.text(row) for row in rows])
        changed = np.array(rows, dtype=np.int64)
        self.table.set_content(self._tensor(changed), torch.from_numpy(content))
        self.retriever.encoded(changed)

    def _segments(self, events: Sequence[Interaction]) -> tuple[list[Segment], Targets]:
        """Make one Segment per user, and describe their targets.

        Users are in the order of their first acts that count: an act that does not must not move the
        boundaries of the mixer's steps for everybody.
        """
        weight = self.stream.signals.weight
        by_user: dict[str, list[Act]] = {e.user: [] for e in events if weight(Act.of(e)) > 0}
        for event in events:
            by_user.setdefault(event.user, []).append(Act.of(event))
        cold, flags = self._cold(events), list[bool]()
        segments, targets = list[Segment](), list[tuple[str, int]]()
        for user, new in by_user.items():
            reading, first_new = self.stream.read(self.stream.histories.of(user), new)
            segment = replace(self.stream.segment_of(reading, first_new), user=event_digest(user))
            segments.append(segment)
            targets += [(user, int(index)) for index in segment.targets]
            flags += [cold[user, reading.acts[index]] for index in segment.targets]
        pasts = np.array([index for _, index in targets], dtype=np.int64)
        return segments, Targets([user for user, _ in targets], pasts, np.array(flags, dtype=np.bool_))

    def _cold(self, events: Sequence[Interaction]) -> dict[tuple[str, Act], bool]:
        """Say of each user's acts whether their items had few acts before them."""
        earlier = Counter[str]()
        cold: dict[tuple[str, Act], bool] = {}
        for event in events:
            acts = self.stream.acts[self.stream.catalogue.row(event.item)] + earlier[event.item]
            cold[event.user, Act.of(event)] = bool(acts < COLD_BELOW)
            earlier[event.item] += 1
        return cold

    @fast_products()
    def _learn(self, batch: MicroBatch, segments: list[Segment], known: Targets) -> Scores:
        """Use one pass three times: for scores before anything has learned the events, loss and gradient."""
        cut, negatives = self.config.segments, self._negatives(batch)
        fresh = [piece for segment in segments for piece in chunks(segment, cut) if piece.targets.size]
        passed = forward(self.recommender, self.table, fresh + self._replayed(batch), negatives)
        scored = self._score(passed, segments, negatives, known)
        loss, is_finite = self._loss(passed), np.isfinite(scored.by_scorer["mixture"].log_probabilities).all()
        if not (is_finite and self.optimizer.step(loss, [Touched(passed.touched, passed.rows)])):
            log.error("step %s-%s is not finite: folded, not learned", batch.generation, batch.step)
            return replace(empty_scores(), quarantined=True)
        self.retriever.changed(passed.touched.cpu().numpy())
        for outputs, columns in scored.outputs:
            self.mixer.learn(outputs, columns)
        self.replay.offer(fresh, self._random(batch, Purpose.RESERVOIR))
        first = torch.cat([outputs.situation for outputs, _ in scored.outputs]).bool().cpu().numpy()
        slices = {"all": np.ones_like(first), "first_of_basket": first, "cold": known.cold}
        return Scores(known, scored.by_scorer, slices, float(loss.detach()), audited=scored.audited)

    def _replayed(self, batch: MicroBatch) -> list[Segment]:
        """Draw old Segments; keep the latest acts of each, none of them new."""
        drawn = self.replay.draw(self.config.replay.segments, self._random(batch, Purpose.REPLAY))
        recent = [old.cut(max(0, len(old) - self.config.replay.length), len(old)) for old in drawn]
        return [replace(old, first_new=len(old)) for old in recent if old.foreseeable.size]

    def _negatives(self, batch: MicroBatch) -> Negatives:
        popularity, random = self.stream.popularity, self._random(batch, Purpose.NEGATIVES)
        return draw_negatives(popularity, self.config.negatives, random, self.device)

    def _score(self, passed: Pass, segments: list[Segment], negatives: Negatives, known: Targets) -> Scored:
        """Score the new targets before they are learned or folded."""
        stream, targets = self.stream, passed.items[passed.new]
        users = passed.users[passed.new].detach()
        contexts = Contexts.of(segments, users, stream.covisitation, len(self.table))
        scorers = Scorers(self.recommender, self.table, stream.popularity, self.mixer, self.retriever)
        if not self.retriever.is_needed(len(self.table)):
            return score_in_full(contexts, targets, scorers)
        digests = np.repeat([one.user for one in segments], [one.targets.size for one in segments])
        audited = is_audited(known, digests, len(self.table), self.config.retrieval.audited)
        return score_among_candidates(contexts, targets, scorers, negatives, audited)

    def _loss(self, passed: Pass) -> Tensor:
        """Mean over new targets, plus a part of the mean over replay and context."""
        replayed = passed.mean_loss(~passed.new)
        return passed.mean_loss(passed.new) + self.config.replay.weight * replayed

    def _new_recommender(self, sizes: ModelSizes) -> Recommender:
        new = Recommender(self._backbone, sizes, self.config.seed, self.config.precision)
        return new.to(self.device).eval()

    def _optimizer(self) -> OptimizerStep:
        return OptimizerStep(self.recommender, self.table, self.config.optimizer)

    def _random(self, batch: MicroBatch, purpose: Purpose) -> np.random.Generator:
        return random_for(self.config.seed, batch.generation, batch.step, purpose)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)
