"""Candidates: one folder each, below the model's checkpoints, with everything about it.

``plan.json`` is what to do, ``champion/`` the checkpoint that both contenders begin from,
``progress/`` that of the training, ``checkpoint/`` the state that may be adopted,
``decision.json`` what was decided.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.atomic_files import replace_durably
from pipeline.checkpoints.store import CANDIDATE_CHECKPOINT, CANDIDATES
from pipeline.control.records import CandidateName, GateDecision
from pipeline.errors import CandidateUnknown, Occupied

KEEP = 20
"""Candidates; a plan beyond them removes the oldest."""
PLAN, DECISION = "plan.json", "decision.json"


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
    request: str | None
    champion: str
    window: dict[str, int]
    held_out: int
    trial: int
    planned_at: int


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
        """Whether its plan is written down."""
        return (self.folder / PLAN).exists()

    def plan(self) -> RetrainPlan:
        """Read the plan.

        Raises:
            CandidateUnknown: there is no such candidate.
        """
        try:
            return RetrainPlan.model_validate_json((self.folder / PLAN).read_bytes())
        except (FileNotFoundError, ValidationError) as error:
            raise CandidateUnknown(
                f"there is no candidate {self.name}: see `millstream candidates list` ({error})"
            ) from None

    def decision(self) -> GateDecision | None:
        """Read the decision; None while it is open."""
        file = self.folder / DECISION
        return GateDecision.decode(file.read_bytes()) if file.exists() else None

    def decided(self) -> GateDecision:
        """Read the decision.

        Raises:
            CandidateUnknown: there is no such candidate, or the decision is open.
        """
        decision = self.decision()
        if decision is None:
            raise CandidateUnknown(f"{self.plan().name} is not decided yet: see `millstream candidates list`")
        return decision

    def conclude(self, decision: GateDecision) -> None:
        """Write down a decision, and remove the files that are of no use after it."""
        replace_durably(self.folder / DECISION, decision.encode())
        for folder in (self.progress, self.champion):
            shutil.rmtree(folder, ignore_errors=True)


class Candidates:
    """The candidates of one model; `checkpoints` is the folder of its checkpoints."""

    def __init__(self, checkpoints: Path) -> None:
        self._folder = checkpoints / CANDIDATES
        self._folder.mkdir(parents=True, exist_ok=True)

    def all(self) -> list[Candidate]:
        """Return the candidates that have a plan, oldest first."""
        planned = sorted(self._folder.glob(f"*/{PLAN}"), key=lambda path: path.stat().st_mtime)
        return [Candidate(path.parent) for path in planned]

    def named(self, name: str) -> Candidate:
        """Return the candidate of a name, whether it exists or not."""
        return Candidate(self._folder / name)

    def begin(self, plan: RetrainPlan) -> Candidate:
        """Write a plan down as a candidate; remove the oldest candidates beyond the last twenty."""
        candidate = self.named(plan.name)
        candidate.folder.mkdir(exist_ok=True)
        replace_durably(candidate.folder / PLAN, plan.model_dump_json().encode())
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
