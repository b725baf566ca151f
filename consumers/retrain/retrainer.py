"""The retrainer: from a plan to a judged candidate.

It makes the champion of the plan's version again, trains a copy (when asked, its text encoder
on the catalogue first; then the rest on the window), lets both learn the batches that the
journal names after that, and asks the Gate. Everything follows from the plan, the log and the
journal: killed anywhere and run again, it makes the same candidate. It reads the learner's log
and checkpoints and never stands in its way.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import NamedTuple

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.rebuild import rebuild
from pipeline.checkpoints.store import Checkpoints, restore_from
from pipeline.control.records import DecisionOutcome, GateDecision
from pipeline.errors import ChampionGone, CheckpointCorrupt, InvalidEvent, NothingToLearn, OffsetsExpired
from pipeline.eventlog.intake import interaction_of
from pipeline.eventlog.port import EventLog, Offsets, TopicPartition
from pipeline.eventlog.topics import Topics
from pipeline.events import Interaction
from pipeline.journal.batch_source import Batch, BatchSource
from pipeline.journal.entry import JournalEntry
from pipeline.journal.follow import follow_journal, recorded
from pipeline.journal.position import Position
from pipeline.journal.record_buffer import RecordBuffer
from pipeline.model.recommender import ModelConfig
from pipeline.model.tower import TowerConfig
from pipeline.retraining.candidates import Candidate, RetrainPlan
from pipeline.retraining.comparison import Contender, evidence, run_through
from pipeline.retraining.gate import GateConfig, GateVerdict, Outcome, decide
from pipeline.retraining.training import (
    LanguageConfig,
    LanguageResult,
    RetrainConfig,
    Retraining,
    RetrainProgress,
    RetrainResult,
    learn_language,
)
from pipeline.signals import check_goes_on
from pipeline.snapshots.snapshot import Version
from pipeline.state.micro_batch import MicroBatch
from pipeline.training.learner import Learner

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
READ_ENTRIES = 500
KIBIBYTE = 1024

Entries = Sequence[tuple[JournalEntry, int]]
"""Each with the offset after it; at least one."""


class Ahead(NamedTuple):
    """What the journal names after the champion's position: to validate on, then to compare on.

    It is the journal that parts them, so that nothing which the training was judged on comes
    again in the contest.
    """

    held_out: Entries
    trial: Entries


@dataclass(frozen=True)
class Workshop:
    """What a retrainer works with.

    Attributes:
        model: sizes that a candidate has at least.
        make: makes a learner that has seen nothing.
        manual: whether a person decides about what the Gate would promote.
        stop: set when work is to be left.
        progress: told of every minibatch.
        language: how the text encoder learns, if it is asked to.
    """

    event_log: EventLog
    topics: Topics
    checkpoints: Checkpoints
    make: Callable[[], Learner]
    model: ModelConfig
    retrain: RetrainConfig
    gate: GateConfig
    manual: bool
    stop: Event
    progress: Callable[[RetrainProgress], None]
    language: LanguageConfig = LanguageConfig()


def judged(shop: Workshop, candidate: Candidate) -> GateDecision:
    """Make a candidate as planned and judge it, or tell what became of it before.

    Waits for events that are still to come.

    Raises:
        Stopped: it was told to stop; the next call goes on.
    """
    known = candidate.decision()
    if known is not None:
        return known
    try:
        decision = _compared(shop, candidate, candidate.plan())
    except (ChampionGone, CheckpointCorrupt, NothingToLearn, OffsetsExpired) as error:
        decision = void(candidate.plan(), str(error))
    candidate.judge(decision)
    candidate.tidy()
    return decision


def void(plan: RetrainPlan, reason: str) -> GateDecision:
    """What is said of a candidate whose champion is gone, or what it was to learn from."""
    return GateDecision(
        candidate=plan.name,
        champion=plan.champion,
        generation=Version.parse(plan.champion).generation,
        request=plan.request,
        outcome="void",
        reasons=[reason],
        figures={},
        cost={},
        decided_at=int(time.time() * 1000),
    )


def _compared(shop: Workshop, candidate: Candidate, plan: RetrainPlan) -> GateDecision:
    began = time.process_time()  # of the wall clock, much is waiting
    learner, position = _champion(shop, candidate, plan)
    ahead = _ahead(shop, position, plan)
    model = _at_least(shop.model, learner.shape.model)
    if model != learner.shape.model:
        learner.grow_to(model)
    candidate.progress.mkdir(exist_ok=True)
    language = _read_anew(shop, candidate, learner) if shop.language.epochs else None
    result = _retrained(shop, candidate, plan, learner, position, ahead)
    challenger = _run_through(shop, learner, position, ahead)
    reached = Position.after(*ahead.trial[-1])
    shop.checkpoints.write_to(candidate.checkpoint, capture(learner, None, reached))
    champion = _run_through(shop, *_champion(shop, candidate, plan), ahead)
    verdict = decide(*evidence(champion, challenger), shop.gate)
    return GateDecision(
        candidate=plan.name,
        champion=plan.champion,
        generation=reached.generation,
        request=plan.request,
        outcome=_outcome(verdict, shop.manual),
        reasons=verdict.reasons,
        figures={**verdict.figures, **(language.figures if language else {})},
        cost=_cost(result, time.process_time() - began),
        decided_at=int(time.time() * 1000),
    )


def _champion(shop: Workshop, candidate: Candidate, plan: RetrainPlan) -> tuple[Learner, Position]:
    """The champion as it was, from a copy of its own: the ladder loses its rungs."""
    learner = shop.make()
    if not candidate.champion.exists():
        found = rebuild(
            shop.event_log, shop.topics, learner, None, shop.checkpoints, until=Version.parse(plan.champion)
        )
        shop.checkpoints.write_to(candidate.champion, capture(learner, None, found))
    return learner, restore_from(candidate.champion, learner, None)


def _ahead(shop: Workshop, position: Position, plan: RetrainPlan) -> Ahead:
    """The journal after the champion's position, as far as the plan needs it.

    Raises:
        ChampionGone: another state was adopted there.
    """
    entries = follow_journal(shop.event_log, shop.topics, position.journal, shop.stop)
    held_out = _stretch(shop, entries, position.offsets, plan.held_out)
    return Ahead(held_out, _stretch(shop, entries, held_out[-1][0].offsets, plan.trial))


def _stretch(
    shop: Workshop, entries: Iterator[tuple[JournalEntry, int]], start: Offsets, records: int
) -> Entries:
    """The next entries, up to the one with which so many records have come since `start`."""
    needed, taken = recorded(shop.topics, start) + records, list[tuple[JournalEntry, int]]()
    for entry, after in entries:
        if entry.adopts is not None:
            raise ChampionGone(f"{entry.adopts.order} replaced the champion")
        taken.append((entry, after))
        if recorded(shop.topics, entry.offsets) >= needed:
            break
    return taken


def _read_anew(shop: Workshop, candidate: Candidate, learner: Learner) -> LanguageResult:
    """Stage one: the catalogue, encoded by an encoder that has learned its language."""
    texts, seed = [entry.text for entry in learner.stream.catalogue.entries if entry], learner.shape.seed
    goes_on = partial(check_goes_on, shop.stop)
    result = learn_language(learner.encoder, texts, shop.language, seed, candidate.progress, goes_on)
    learner.read_anew(result.adapter)
    return result


def _retrained(
    shop: Workshop,
    candidate: Candidate,
    plan: RetrainPlan,
    learner: Learner,
    position: Position,
    ahead: Ahead,
) -> RetrainResult:
    """Train the learner on the window, which ends at its position."""
    starts = {TopicPartition.parse(name): offset for name, offset in plan.window.items()}
    window = _interactions(shop, starts, position.offsets)
    held_out = _interactions(shop, position.offsets, ahead.held_out[-1][0].offsets)

    def progress(at: RetrainProgress) -> None:
        check_goes_on(shop.stop)
        shop.progress(at)

    return Retraining(learner, shop.retrain, window, held_out, candidate.progress).run(progress)


def _run_through(shop: Workshop, learner: Learner, position: Position, ahead: Ahead) -> Contender:
    with closing(BatchSource(shop.event_log, shop.topics, position, learner.first_seen)) as batches:
        return run_through(learner, _unless_stopped(shop, batches, ahead), len(ahead.held_out))


def _unless_stopped(shop: Workshop, batches: BatchSource, ahead: Ahead) -> Iterator[MicroBatch]:
    for turn in batches.recover([*ahead.held_out, *ahead.trial]):
        check_goes_on(shop.stop)
        assert isinstance(turn, Batch), "a plan with an adoption ahead is given up"
        yield turn.micro


def _interactions(shop: Workshop, starts: Offsets, ends: Offsets) -> list[Interaction]:
    """Each valid interaction between offsets once, in the order of a batch."""
    ours = {source: at for source, at in starts.items() if source.topic == shop.topics.interactions}
    with closing(RecordBuffer(shop.event_log, ours)) as tape:
        events = dict[str, Interaction]()
        for record in tape.cut_to(ends):
            try:
                event = interaction_of(record)
            except InvalidEvent:
                continue  # the learner has told of it
            events.setdefault(event.event_id, event)
        return list(events.values())


def _outcome(verdict: GateVerdict, manual: bool) -> DecisionOutcome:
    if verdict.outcome is not Outcome.PROMOTED:
        return "rejected"
    return "held" if manual else "promoted"


def _at_least(wanted: ModelConfig, champion: ModelConfig) -> ModelConfig:
    """The larger of two sizes, part by part."""
    tower, other = wanted.tower, champion.tower
    rank = max(tower.lora_rank, other.lora_rank)
    alpha = tower.lora_alpha if tower.lora_rank == rank else other.lora_alpha
    return ModelConfig(
        TowerConfig(max(tower.layers, other.layers), rank, alpha),
        max(wanted.adapter_rank, champion.adapter_rank),
    )


def _cost(result: RetrainResult, seconds: float) -> dict[str, float]:
    """What a retrain cost; its training includes the finished epochs of interrupted runs."""
    return {
        "seconds": seconds,
        "training_seconds": result.seconds,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE,
        "events": result.events,
        "epochs": result.epochs,
    }
