"""The learner: scores a MicroBatch with the model as it is, then learns it, in one forward pass.

The forward pass over new Segments gives the prequential scores, the loss and the
gradient; a Segment of n acts costs one sequence and trains n targets. Replayed Segments
share the pass but have a mean of their own: measured, one mean over all targets lets
replay drown the new events (HR@20 .326), two means do not (.339).
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import LearnerConfig, ModelSizes, RewardsConfig, SignalsConfig, ValueConfig
from pipeline.evaluation.prequential import Scores, Targets, empty_scores
from pipeline.events import CatalogueRecord, Interaction, InteractionType, event_digest
from pipeline.model.backbone import Backbone
from pipeline.model.content.adapter import NO_ADAPTER, Adapter
from pipeline.model.content.items import ItemEncoder, content_read
from pipeline.model.content.text import TextEncoder
from pipeline.model.device import release_freed_memory
from pipeline.model.item_table import ItemTable
from pipeline.model.losses import Negatives, draw_negatives
from pipeline.model.mixer import Mixer, ScorerOutputs
from pipeline.model.modality_counts import ModalityCounts
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts, score_segments
from pipeline.model.warm_start import warm_start
from pipeline.ratings.acts import new_ratings
from pipeline.ratings.learner import RatingLearner
from pipeline.retrieval.retriever import Retriever
from pipeline.state.catalogue import Catalogue, upserted
from pipeline.state.histories import Act
from pipeline.state.micro_batch import MicroBatch
from pipeline.state.outcomes import Outcome
from pipeline.state.segments import Segment, chunks
from pipeline.state.stream import StreamState
from pipeline.training.cohorts import cohorts
from pipeline.training.forward import Pass, forward
from pipeline.training.objectives.chosen import UNSUPERVISED, mixed, supervised_of
from pipeline.training.objectives.port import HistoryBatch
from pipeline.training.objectives.schedule import alpha_after
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
from pipeline.training.sampled_lists import choose, lists_of
from pipeline.value.decisions import decisions_of
from pipeline.value.features import ITEM, STATE
from pipeline.value.learners import Skipped, make_learner

log = logging.getLogger(__name__)

RELEASE_EVERY = 32
"""Batches after which freed memory is released; the next one pays some page faults for it."""


class Learner:
    """Stream state and learned state, moved forward one MicroBatch at a time.

    Attributes:
        born: its configuration as the settings have it.
        config: its configuration now; the model's sizes may be those of an adopted state.
        signals: what acts say, as the settings have it.
        rewards: what acts on shown items are worth, as the settings have it.
        valued: what learns values, as the settings have it.
        encoder: of texts; its adapter may be that of an adopted state.
        item_encoder: of items, with that.
    """

    def __init__(
        self,
        config: LearnerConfig,
        backbone: Backbone,
        encoder: TextEncoder,
        device: torch.device,
        signals: SignalsConfig = SignalsConfig(),  # noqa: B008 (frozen)
        rewards: RewardsConfig = RewardsConfig(),  # noqa: B008 (frozen)
        valued: ValueConfig = ValueConfig(),  # noqa: B008 (frozen)
    ) -> None:
        self.born = config
        self.signals = signals
        self.rewards = rewards
        self.valued = valued
        self._backbone = backbone
        self.encoder = encoder
        self.device = device
        self.reset(config)

    def reset(self, config: LearnerConfig) -> None:
        """Reset all state, to a model of the given sizes."""
        self.config = config
        self.encoder = self.encoder.adapted(NO_ADAPTER)
        catalogue = Catalogue((), config.sizes.attributes, config.sizes.relations)
        self.stream = StreamState(config.stream, catalogue, said=self.signals, worth=self.rewards)
        self.stream.profiles.read(config.sizes.user_attributes)
        self.recommender = self._new_recommender(config.sizes)
        self._make_table(config.sizes)
        self.mixer = Mixer(config.mixer_rate, self.device)
        self.replay = ReplayBuffer(config.replay.capacity)
        self.retriever = Retriever(config.retrieval)
        self.values = make_learner(self.valued, STATE, ITEM, config.seed)
        self.ratings = RatingLearner(config.ratings, self._backbone.width)
        self.optimizer = self._optimizer()
        self._supervised = supervised_of(config.objective)

    def grow_to(self, sizes: ModelSizes) -> None:
        """Grow the model, warm-started from this one; reset the optimizer.

        Raises:
            ValueError: the new model is smaller.
        """
        small, small_sizes = self.recommender, self.config.sizes
        self.config = self.config.replace(sizes=sizes)
        self.recommender = self._new_recommender(sizes)
        warm_start(self.recommender, sizes, small, small_sizes)
        if content_read(sizes) != content_read(small_sizes):
            self._widen()
        self.stream.profiles.read(sizes.user_attributes)
        self.optimizer = self._optimizer()

    def reencode(self, adapter: Adapter) -> None:
        """Encode the whole catalogue, and later texts, with another adapter of the language model."""
        self.encoder = self.encoder.adapted(adapter)
        self._encode(range(len(self.stream.catalogue)))

    def another(self) -> Learner:
        """Make a learner that has seen nothing, configured as this one was; the backbone is shared."""
        return Learner(
            self.born, self._backbone, self.encoder, self.device, self.signals, self.rewards, self.valued
        )

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
        """Score and learn the batch, unless it is to be folded only; fold it into the stream state.

        `stream.closed` has the outcomes that it closes then.
        """
        self._ingest(batch)
        self._take_back(batch.interactions)
        self.retriever.update(batch.step, self.table, self.stream.popularity)
        segments, targets = self._segments(batch.interactions)
        scores = self._learn(batch, segments, targets) if batch.learns and targets.users else empty_scores()
        if batch.rehearses:
            self._rehearse(batch)
        self._learn_ratings(batch)
        self.stream.fold(batch.interactions)
        self.stream.join(batch)
        self._learn_values(batch)
        if batch.step % RELEASE_EVERY == 0:
            release_freed_memory()
        return scores

    @torch.inference_mode()
    def score(self, batch: MicroBatch) -> Scores:
        """Score what users did next, of whole baskets after their histories; learn and fold nothing.

        The items must be known.
        """
        self.retriever.update(batch.step, self.table, self.stream.popularity)
        segments, targets = self._segments(batch.interactions)
        if not targets.users:
            return empty_scores()
        negatives, pieces = self._negatives(batch), self._pieces(segments)
        passed = forward(self.recommender, self.table, pieces, negatives)
        scored = self._score(passed, segments, negatives, targets)
        return self._scores(segments, targets, passed, scored, math.nan)

    def _learn_ratings(self, batch: MicroBatch) -> None:
        """Predict the ratings of the batch, then learn them."""
        content, stream, most = self.table.all().text, self.stream, self.config.ratings.history
        events = batch.interactions if batch.learns else []
        found = new_ratings(events, stream.histories.of, stream.catalogue.row, most)
        self.ratings.learn(found, lambda rows: content[self._tensor(rows)].double().cpu().numpy())

    def _learn_values(self, batch: MicroBatch) -> None:
        """Learn what came of what was shown, from the features that it was chosen by."""
        if batch.learns and self.valued.learners and self.stream.closed:
            decisions, unreadable = decisions_of(map(Outcome.of, self.stream.closed))
            self.values.skipped[Skipped.UNREADABLE] += unreadable
            self.values.learn(decisions, self._random(batch, Purpose.VALUES))

    def scorer_outputs(self, segments: Sequence[Segment], users: Tensor) -> Iterator[ScorerOutputs]:
        """Score the segments' m targets with every scorer; `users` ``[m, d]`` are the vectors before each."""
        stream, items, related = self.stream, self.table.padded(), self.stream.catalogue.related_rows
        return score_segments(
            segments, users, self.recommender, items, stream.covisitation, stream.popularity, related
        )

    def mixture(self, segments: Sequence[Segment], users: Tensor) -> Tensor:
        """Mix the scorers' outputs: log-probabilities ``[m, n]``."""
        return torch.cat(
            [self.mixer.log_probabilities(given) for given in self.scorer_outputs(segments, users)]
        )

    def _ingest(self, batch: MicroBatch) -> None:
        """Upsert items and users, and give a row to each item that only an interaction names."""
        rows = sorted(set(self.stream.ingest(batch.items)))
        for event in batch.interactions:
            self.stream.catalogue.row(event.item)
        self.stream.grow()
        self.stream.profiles.ingest(batch.users)
        self.table.grow(len(self.stream.catalogue))
        self.ratings.grow(len(self.stream.catalogue))
        self._encode(rows)

    def _take_back(self, events: Sequence[Interaction]) -> None:
        """Stop replaying purchases that were returned."""
        returned = [event for event in events if event.type is InteractionType.RETURN]
        if returned:
            row = self.stream.catalogue.row
            self.replay.take_back([(event_digest(event.user), row(event.item)) for event in returned])

    def _encode(self, rows: Sequence[int]) -> None:
        """Give rows the content of their items."""
        catalogue = self.stream.catalogue
        items = [catalogue.entries[row] for row in rows]
        content = self.item_encoder.encode(items, self.encoder, catalogue.text_of)
        changed = np.array(rows, dtype=np.int64)
        self._modalities.set_content(
            self.recommender.fusion, self.table, self._tensor(changed), torch.from_numpy(content)
        )
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
        acts, before = self._acts_before(events), list[int]()
        users, pasts = list[str](), list[int]()
        found = [self.stream.read(self.stream.histories.of(user), new) for user, new in by_user.items()]
        segments = self.stream.segments_of(list(by_user), *zip(*found, strict=True)) if found else []
        for user, (reading, _), segment in zip(by_user, found, segments, strict=True):
            targets = segment.targets.tolist()
            users += [user] * len(targets)
            pasts += targets
            before += [acts[user, reading.acts[index]] for index in targets]
        return segments, Targets(users, np.array(pasts, dtype=np.int64), np.array(before, dtype=np.int64))

    def _acts_before(self, events: Sequence[Interaction]) -> dict[tuple[str, Act], int]:
        """Count for each user's acts how many their items had before them."""
        earlier = Counter[str]()
        counts: dict[tuple[str, Act], int] = {}
        for event in events:
            acts = self.stream.acts[self.stream.catalogue.row(event.item)]
            counts[event.user, Act.of(event)] = int(acts) + earlier[event.item]
            earlier[event.item] += 1
        return counts

    def _learn(self, batch: MicroBatch, segments: list[Segment], known: Targets) -> Scores:
        """Use one pass three times: for scores before anything has learned the events, loss and gradient."""
        fresh, negatives = self._pieces(segments), self._negatives(batch)
        old = self.replayed(self.config.replay.segments, self._random(batch, Purpose.REPLAY))
        pieces = fresh + old
        passed = forward(self.recommender, self.table, pieces, negatives, self._supervised)
        scored = self._score(passed, segments, negatives, known)
        is_finite = np.isfinite(scored.by_scorer["mixture"].log_probabilities).all()
        loss, touched = self._loss(batch, passed, pieces, negatives)
        involved = [Touched(passed.touched, passed.rows), *touched]
        acts = sum(len(one) - one.first_new for one in segments)
        if not (is_finite and self.optimizer.step(loss, involved, acts)):
            log.error("step %s-%s is not finite: folded, not learned", batch.generation, batch.step)
            return replace(empty_scores(), quarantined=True)
        self.retriever.changed(passed.touched.cpu().numpy())
        for lesson in scored.lessons:
            self.mixer.learn(*lesson)
        self.replay.offer(fresh, self._random(batch, Purpose.RESERVOIR))
        return self._scores(segments, known, passed, scored, float(loss.detach()))

    def _pieces(self, segments: Sequence[Segment]) -> list[Segment]:
        """Cut Segments into pieces that have targets."""
        cut = self.config.segments
        return [piece for segment in segments for piece in chunks(segment, cut) if piece.targets.size]

    def _rehearse(self, batch: MicroBatch) -> None:
        """Take a step on replayed Segments alone."""
        old = self.replayed(self.config.replay.rehearsed, self._random(batch, Purpose.REPLAY))
        if not old:
            return
        passed = forward(self.recommender, self.table, old, self._negatives(batch), self._supervised)
        if not self.optimizer.step(passed.mean_loss(~passed.new), [Touched(passed.touched, passed.rows)]):
            log.error("rehearsal %s-%s is not finite: left out", batch.generation, batch.step)
        self.retriever.changed(passed.touched.cpu().numpy())

    def replayed(self, amount: int, random: np.random.Generator) -> list[Segment]:
        """Draw old Segments; keep the latest acts of each, none of them new."""
        drawn = self.replay.draw(amount, random)
        recent = [old.cut(max(0, len(old) - self.config.replay.length), len(old)) for old in drawn]
        return [replace(old, first_new=len(old)) for old in recent if old.foreseeable.size]

    def _negatives(self, batch: MicroBatch) -> Negatives:
        popularity, random = self.stream.popularity, self._random(batch, Purpose.NEGATIVES)
        return draw_negatives(popularity, self.config.negatives, random, self.device)

    def _score(self, passed: Pass, segments: list[Segment], negatives: Negatives, known: Targets) -> Scored:
        """Score the new targets before they are learned or folded."""
        stream, targets = self.stream, passed.items[passed.new]
        users = passed.users[passed.new].detach()
        related = stream.catalogue.related_rows
        contexts = Contexts.of(segments, users, stream.covisitation, len(self.table), related)
        scorers = Scorers(self.recommender, self.table, stream.popularity, self.mixer, self.retriever)
        listed = choose(segments)
        if not self.retriever.is_needed(len(self.table)):
            return score_in_full(contexts, targets, scorers, listed)
        digests = np.repeat([one.user for one in segments], [one.targets.size for one in segments])
        audited = is_audited(known, digests, len(self.table), self.config.retrieval.audited)
        return score_among_candidates(contexts, targets, scorers, listed, negatives, audited)

    def _scores(
        self, segments: Sequence[Segment], known: Targets, passed: Pass, scored: Scored, loss: float
    ) -> Scores:
        """Return the scores of targets, with their slices and lists."""
        opens = torch.cat([lesson.outputs.situation for lesson in scored.lessons]).bool().cpu().numpy()
        slices = cohorts(segments, known, opens, self.stream.head)
        lists = lists_of(scored.lists, scored.listed, segments, passed.items[passed.new], self.table)
        return Scores(known, scored.by_scorer, slices, loss, audited=scored.audited, lists=lists)

    def _loss(
        self, batch: MicroBatch, passed: Pass, pieces: Sequence[Segment], negatives: Negatives
    ) -> tuple[Tensor, list[Touched]]:
        """Mean over new targets, plus a part of the mean over replayed ones; mixed with L_uns.

        What attributes of users say is learned beside it.
        """
        replayed = passed.mean_loss(~passed.new)
        supervised = passed.mean_loss(passed.new) + self.config.replay.weight * replayed
        random = self._random(batch, Purpose.VIEWS)
        histories = HistoryBatch(self.recommender, self.table, pieces, negatives, random)
        alpha, objective = alpha_after(self.stream.events, self.config.objective), self.config.objective
        loss, touched = mixed(alpha, supervised, UNSUPERVISED[objective.unsupervised], histories)
        return loss + passed.introduction, touched

    def _new_recommender(self, sizes: ModelSizes) -> Recommender:
        new = Recommender(self._backbone, sizes, self.config.seed, self.config.precision)
        return new.to(self.device).eval()

    def _make_table(self, sizes: ModelSizes) -> None:
        """Make an empty table, and what encodes items for it and counts their modalities."""
        self.item_encoder = ItemEncoder(sizes)
        self._modalities = ModalityCounts()
        width, rates = self._backbone.width, self.config.optimizer.rows
        self.table = ItemTable(width, self.device, rates, sizes.columns(width))

    def _widen(self) -> None:
        """Make room for what the model did not read of items before, and read it of the whole catalogue."""
        state, sizes = self.table.state(), self.config.sizes
        self._make_table(sizes)
        content = state["content"].new_zeros(len(state["bias"]), sizes.columns(self._backbone.width))
        self.table.load({**state, "content": content})
        self.retriever = Retriever(self.config.retrieval)
        self.stream.catalogue.read(sizes.attributes, sizes.relations)
        self._encode(range(len(self.stream.catalogue)))

    def _optimizer(self) -> OptimizerStep:
        return OptimizerStep(self.recommender, self.table, self.config.optimizer)

    def _random(self, batch: MicroBatch, purpose: Purpose) -> np.random.Generator:
        return random_for(self.config.seed, batch.generation, batch.step, purpose)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)
