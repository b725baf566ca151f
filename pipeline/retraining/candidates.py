"""Candidates: one folder each, below the model's checkpoints, with everything about it.

``plan.json`` is what to do, ``champion/`` the checkpoint that both contenders begin from,
``progress/`` that of the training, ``checkpoint/`` the state that may be adopted,
``decision.json`` what was decided.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline.atomic_files import replace_durably
from pipeline.bounded import Count, Key, Place, VersionText, fault_of
from pipeline.checkpoints.listing import CANDIDATE_CHECKPOINT, CANDIDATES
from pipeline.checkpoints.manifest import MANIFEST
from pipeline.control.records import CandidateName, GateDecision
from pipeline.errors import CandidateUnknown, Occupied
from pipeline.events import Milliseconds, Offset
from pipeline.sealing import seal, unseal

KEEP = 20
"""Candidates; a plan beyond them removes the oldest."""
PLAN, DECISION = "plan.json", "decision.json"
FORMAT = 2
"""Of both files. 2: they are sealed."""

log = logging.getLogger(__name__)


class RetrainPlan(BaseModel):
    """The plan of a retrain; amounts in records of the interactions topic.

    It names everything that the candidate follows from, so that an interrupted retrain that
    goes on makes the same candidate.

    Attributes:
        name: of the candidate.
        request: key of the alarm's request that it answers, if any.
        champion: version to begin from.
        window: offset of the first record to train on, by ``topic/partition``; the window ends
            at the champion's position.
        held_out: records after the window, to validate on.
        trial: records after those, to compare both contenders on.
        planned_at: wall clock, ms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: CandidateName
    request: Key | None
    champion: VersionText
    window: Annotated[dict[Place, Offset], Field(max_length=10_000)]
    held_out: Count
    trial: Count
    planned_at: Milliseconds


class Candidate:
    """One candidate's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """Name of the candidate."""
        return self.folder.name

    @property
    def champion(self) -> Path:
        """Folder of the champion's checkpoint."""
        return self.folder / "champion"

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint that may be adopted."""
        return self.folder / CANDIDATE_CHECKPOINT

    @property
    def progress(self) -> Path:
        """Folder of the training's progress."""
        return self.folder / "progress"

    @property
    def is_planned(self) -> bool:
        """Whether its plan is written down and can be read."""
        try:
            self.plan()
        except CandidateUnknown:
            return False
        return True

    def plan(self) -> RetrainPlan:
        """Read the plan.

        Raises:
            CandidateUnknown: there is no such candidate, or its plan is damaged.
        """
        try:
            plan = RetrainPlan.model_validate_json(unseal((self.folder / PLAN).read_bytes(), FORMAT))
        except FileNotFoundError:
            raise CandidateUnknown(
                f"there is no candidate {self.name}: see `millstream candidates list`"
            ) from None
        except (OSError, ValueError) as error:
            raise CandidateUnknown(
                f"there is no candidate {self.name}: its {PLAN} is damaged or of another millstream; remove "
                f"the folder ({fault_of(error)})"
            ) from None
        if plan.name != self.name:
            raise CandidateUnknown(
                f"there is no candidate {self.name}: its {PLAN} is that of another; remove the folder"
            )
        return plan

    def decision(self) -> GateDecision | None:
        """Read the decision; None while it is open. A damaged one is logged, and is made again."""
        try:
            decision = GateDecision.decode(unseal((self.folder / DECISION).read_bytes(), FORMAT))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.error(
                "%s of candidate %s is damaged, so it is decided again: %s",
                DECISION,
                self.name,
                fault_of(error),
            )
            return None
        if decision.candidate != self.name:
            log.error("%s of candidate %s is that of another, so it is decided again", DECISION, self.name)
            return None
        return decision

    def decided(self) -> GateDecision:
        """Read the decision.

        Raises:
            CandidateUnknown: there is no such candidate, or the decision is open.
        """
        decision = self.decision()
        if decision is None:
            raise CandidateUnknown(f"{self.plan().name} is not decided yet: see `millstream candidates list`")
        return decision

    def check_trained(self) -> None:
        """Refuse a candidate that was decided before there was a state to adopt.

        Raises:
            CandidateUnknown: it has no checkpoint.
        """
        if not (self.checkpoint / MANIFEST).exists():
            raise CandidateUnknown(
                f"{self.name} has no checkpoint to adopt: `millstream candidates list` shows its outcome"
            )

    def conclude(self, decision: GateDecision) -> None:
        """Write down a decision, and remove the files that are of no use after it."""
        replace_durably(self.folder / DECISION, seal(decision.encode(), FORMAT))
        for folder in (self.progress, self.champion):
            shutil.rmtree(folder, ignore_errors=True)


class Candidates:
    """The candidates of one model; `checkpoints` is the folder of its checkpoints."""

    def __init__(self, checkpoints: Path) -> None:
        self._folder = checkpoints / CANDIDATES
        self._folder.mkdir(parents=True, exist_ok=True)

    def all(self) -> list[Candidate]:
        """Return the candidates that have a plan, oldest first; a damaged plan is logged and left alone."""
        planned = sorted(self._folder.glob(f"*/{PLAN}"), key=lambda path: path.stat().st_mtime)
        found = list[Candidate]()
        for path in planned:
            try:
                Candidate(path.parent).plan()
            except CandidateUnknown as error:
                log.error("%s", error)
            else:
                found.append(Candidate(path.parent))
        return found

    def named(self, name: str) -> Candidate:
        """Return the candidate of a name, whether it exists or not."""
        return Candidate(self._folder / name)

    def begin(self, plan: RetrainPlan) -> Candidate:
        """Write a plan down as a candidate; remove the oldest candidates beyond the last twenty."""
        candidate = self.named(plan.name)
        candidate.folder.mkdir(exist_ok=True)
        replace_durably(candidate.folder / PLAN, seal(plan.model_dump_json().encode(), FORMAT))
        for old in self.all()[:-KEEP]:
            shutil.rmtree(old.folder)
        return candidate

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Hold the lock on the candidates: one retrainer works on them at a time.

        Raises:
            Occupied: another retrainer holds it.
        """
        with (self._folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Occupied(f"another retrainer works in {self._folder}: stop it first") from None
            yield
