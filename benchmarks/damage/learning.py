"""Cases that a learner meets: checkpoints, candidates, records of the control topic, and the journal."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from random import Random
from typing import Any

import torch

from benchmarks.damage.changes import hostile_json
from benchmarks.damage.outcome import Judged, Outcome, Verdict, accepted, refused
from benchmarks.damage.sealed import (
    Damaged,
    SealedFiles,
    broken_file,
    broken_record,
    forged_record,
    kind_of,
    store,
)
from benchmarks.damage.shop import Shop
from consumers.learn.orders import CommandReader
from consumers.retrain.requests import open_request
from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.manifest import FORMAT, StoredFile
from pipeline.control.alarms import DriftAlarm, RetrainRequest, Signal
from pipeline.control.history import KINDS, read_history
from pipeline.control.records import Adoption, ControlRecord, Gap, Promotion, Refusal, Rollback
from pipeline.errors import CandidateUnknown, JournalCorrupt, MillstreamError
from pipeline.eventlog.port import Record
from pipeline.journal.batch_source import BatchSource
from pipeline.journal.entry import entry_of, read_journal
from pipeline.journal.position import Position
from pipeline.monitoring.supervisor import Supervisor
from pipeline.retraining.candidates import DECISION, PLAN, Candidates, RetrainPlan
from pipeline.retraining.candidates import FORMAT as PLAN_FORMAT
from pipeline.sealing import open_record, seal, unseal
from pipeline.snapshots.values import LARGEST_COUNT, LARGEST_WEIGHT, check_range
from pipeline.training.learner import Learner
from pipeline.training.supervision import supervise
from tests.support.learner_harness import snapshot_of
from tests.support.retrain_harness import decision

NAME = "one"
"""Of the candidate."""


def file_entry(content: bytes) -> dict[str, Any]:
    """Return what a checkpoint's manifest says of a file."""
    return StoredFile(sha256=hashlib.sha256(content).hexdigest(), size=len(content)).model_dump()


def sealed_checkpoint(folder: Path) -> SealedFiles:
    """Read the files of a checkpoint."""
    return SealedFiles({path.name: path.read_bytes() for path in folder.iterdir()}, FORMAT, file_entry)


def damage_checkpoint(shop: Shop, folder: Path, random: Random, is_forged: bool) -> Damaged:
    """Put a damaged checkpoint in the place of a good one."""
    files = sealed_checkpoint(folder)
    damaged = files.forged(random) if is_forged else files.broken(random)
    shutil.rmtree(folder)
    store(folder, damaged.files, shop.bait)
    return damaged


class CheckpointCases:
    """The newest checkpoint is damaged: the one before it is taken, or it works."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._checkpoints = shop, shop.harness.checkpoints
        self._learner, self._supervisor = shop.harness.learner(), shop.harness.supervisor()
        self._digests = self._checkpoints.digests()
        _, self._older, self._newest = self._digests

    def newest(self, random: Random, is_forged: bool) -> Outcome:
        """Damage the newest checkpoint."""
        folder = self._checkpoints.folder / self._newest
        kept = folder.with_name("kept")
        shutil.copytree(folder, kept)
        damaged = damage_checkpoint(self._shop, folder, random, is_forged)
        try:
            judged = self._restored(is_forged)
        finally:
            shutil.rmtree(folder)
            kept.rename(folder)
        return Outcome(f"checkpoint: {kind_of(damaged.part)}", damaged.damage, is_forged, *judged)

    def _restored(self, is_forged: bool) -> Judged:
        self._shop.lines.take()
        position = self._checkpoints.restore(self._learner, self._supervisor)
        lines = self._shop.lines.take()
        if position is None:
            return Verdict.FINDING, f"no checkpoint is readable: {lines}"
        digest = self._checkpoints.digest(capture(self._learner, self._supervisor, position))
        if position.version == self._older and digest == self._digests[self._older]:
            return refused(lines, f"checkpoint {self._newest}")
        if position.version != self._newest:
            return Verdict.FINDING, f"{position.version} was restored, with other bits"
        try:
            fault = goes_on(self._shop, self._learner, self._supervisor, position)
        except MillstreamError as error:
            return (Verdict.STOPPED if is_forged else Verdict.FINDING), f"it cannot go on: {error}"
        if fault is not None:
            return Verdict.FINDING, fault
        return accepted(digest == self._digests[self._newest], is_forged, "restored; it learns and publishes")


def goes_on(shop: Shop, learner: Learner, supervisor: Supervisor, position: Position) -> str | None:
    """Learn what the journal names after a position; return what is wrong with it or with its snapshot."""
    harness = shop.harness
    source = BatchSource(harness.log, harness.topics, position, learner.first_seen)
    try:
        for turn in source.recover(read_journal(harness.log, harness.topics.journal, position.journal)):
            micro = turn.micro  # type: ignore[union-attr]
            if (scores := learner.score_and_learn(micro)).quarantined:
                return "a batch is quarantined"
            supervise(supervisor, learner, micro, scores)
        snapshot = snapshot_of(learner, "shop", position, {}, "test")
        for tensor in (*snapshot.learned.values(), snapshot.mixer, snapshot.residual, snapshot.bias):
            check_range("the snapshot", tensor, -LARGEST_WEIGHT, LARGEST_WEIGHT)
        check_range("popularity", torch.from_numpy(snapshot.table.popularity.counts), 0, LARGEST_COUNT)
    except ValueError as error:
        return f"its snapshot is not one: {error}"
    finally:
        source.close()
    return None


class ControlCases:
    """Records of the control topic: the learner's reader, the history and the retrainer meet each."""

    def __init__(self, shop: Shop) -> None:
        self._shop, harness = shop, shop.harness
        self._learner = harness.learner()
        checkpoints = harness.checkpoints
        self._candidates = Candidates(checkpoints.folder)
        self._reader = CommandReader(
            harness.log, harness.topics, harness.writer, checkpoints, self._learner.another
        )
        self._number = 0
        self.folder = self._candidates.begin(_plan()).folder
        self._state = checkpoints.folder / checkpoints.candidate_state(NAME)
        checkpoints.write_to(self._state, shop.candidate_state)

    def record(self, random: Random, is_forged: bool) -> Outcome:
        """Damage a record of any kind."""
        self._number += 1
        good = random.choice(_records(self._number))
        wire, damage = (forged_record if is_forged else broken_record)(good.encode(), random)
        place, lines = self._append(wire, good.key)
        if place in lines or f"{good.key} is refused" in lines:
            judged = refused(lines, place if place in lines else good.key)
        else:
            judged = accepted(_decoded(wire) == good, is_forged, f"{good.kind} {_orders(lines)}")
        return Outcome("control record", damage, is_forged, *judged)

    def candidate(self, random: Random, is_forged: bool) -> Outcome:
        """Damage the checkpoint of a candidate, and order its promotion."""
        kept = self._state.with_name("kept")
        shutil.copytree(self._state, kept)
        damaged = damage_checkpoint(self._shop, self._state, random, is_forged)
        self._number += 1
        order = Promotion(candidate=NAME, generation=None, ordered_at=self._number, reason="case")
        _, lines = self._append(order.encode(), order.key)
        shutil.rmtree(self._state)
        kept.rename(self._state)
        if "is refused" in lines:
            judged = refused(lines, order.key, "checkpoint checkpoint")
        else:
            judged = accepted(False, is_forged, "its promotion can be carried out")
        return Outcome(f"candidate: {kind_of(damaged.part)}", damaged.damage, is_forged, *judged)

    def plan(self, random: Random, is_forged: bool) -> Outcome:
        """Damage a candidate's plan or decision."""
        name = random.choice((PLAN, DECISION))
        good = seal(
            (_plan().model_dump_json().encode() if name == PLAN else decision(NAME).encode()), PLAN_FORMAT
        )
        path, content = self.folder / name, unseal(good, PLAN_FORMAT)
        if is_forged:
            wire, damage = seal(hostile_json(content, random), PLAN_FORMAT), "forged"
        else:
            wire, damage = broken_file(good, PLAN_FORMAT, random)
        path.write_bytes(wire)
        self._shop.lines.take()
        judged = self._read_plan(name, is_forged)
        path.unlink()
        self._candidates.begin(_plan())
        return Outcome(f"candidate: {name}", damage, is_forged, *judged)

    def _read_plan(self, name: str, is_forged: bool) -> Judged:
        self._candidates.all()
        candidate = self._candidates.named(NAME)
        try:
            found = candidate.plan() if name == PLAN else candidate.decision()
        except CandidateUnknown as error:
            return refused(str(error), f"candidate {NAME}", name)
        if found is None:
            return refused(self._shop.lines.take(), f"candidate {NAME}", name)
        return accepted(found in (_plan(), decision(NAME)), is_forged, "read")

    def _append(self, wire: bytes, key: str) -> tuple[str, str]:
        """Append a record and let its readers read it; return its place, and what they logged."""
        harness, position = self._shop.harness, self._shop.position
        harness.control(wire, key)
        (end,) = harness.log.end_offsets([harness.topics.control]).values()
        self._shop.lines.take()
        while self._reader.due(position) is not None:
            pass
        harness.writer.flush()
        read_history(harness.log, harness.topics)
        open_request(harness.log, harness.topics, self._candidates)
        return f"{harness.topics.control}/0/{end - 1}", self._shop.lines.take()


def journal_case(shop: Shop, random: Random, is_forged: bool) -> Outcome:
    """Damage an entry of the journal."""
    record = random.choice(shop.harness.records(shop.harness.topics.journal))
    assert record.value is not None
    wire, damage = (forged_record if is_forged else broken_record)(record.value, random)
    place = f"{record.source}/{record.offset}"
    try:
        found = entry_of(Record(*record[:5], wire))
    except JournalCorrupt as error:
        return Outcome("journal", damage, is_forged, *refused(str(error), place, "go on under another"))
    judged = accepted(found == entry_of(record), is_forged, "read")
    return Outcome("journal", damage, is_forged, *judged)


def _plan() -> RetrainPlan:
    return RetrainPlan(
        name=NAME,
        request=None,
        champion="1-2",
        window={"mill.interactions/0": 1},
        held_out=1,
        trial=1,
        planned_at=1_700_000_000_000,
    )


def _records(number: int) -> tuple[ControlRecord, ...]:
    alarm = DriftAlarm(
        signal=Signal.LOSS,
        generation=1,
        step=number,
        events=9,
        before=1.0,
        after=2.0,
        evidence={"level": 0.5},
    )
    return (
        Promotion(candidate=NAME, generation=1, ordered_at=number, reason="case"),
        Rollback(version="1-4", relearn=False, generation=1, ordered_at=number, reason="case"),
        Adoption(order=f"order-{number}", version=f"2-{number}", left="1-6", reason="case"),
        Gap(version=f"2-{number}", left="1-6", lost=number, reason="case"),
        Refusal(order=f"order-{number}", reason="case"),
        decision(f"candidate-{number}"),
        alarm,
        RetrainRequest(alarm=alarm),
    )


def _decoded(wire: bytes) -> ControlRecord:
    return KINDS[open_record(wire)["kind"]].decode(wire)


def _orders(lines: str) -> str:
    return "accepted" if not lines else lines[:200]
