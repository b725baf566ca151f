"""Candidates: a folder each, below the model's checkpoints, with all that became of one.

``plan.json`` what is to be done, ``champion/`` the checkpoint that both contenders begin
from, ``progress/`` of the training, ``checkpoint/`` what may be adopted, ``judgement.json``
what became of it.
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
PLAN, DECISION = "plan.json", "judgement.json"


class RetrainPlan(BaseModel):
    """What a retrain is to do; amounts in records of the interactions topic.

    It names everything that the candidate follows from, so that one which was interrupted
    becomes the same.

    Attributes:
        name: of the candidate.
        request: key of the request that it answers, if any.
        champion: version to begin from.
        window: where the records to train on begin, as ``topic/partition`` to offset; they
            reach to the champion's position.
        held_out: records after that, to validate on.
        trial: after that, to compare both contenders on.
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
        """Of the candidate."""
        return self.folder.name

    @property
    def champion(self) -> Path:
        """Where the champion's checkpoint is kept."""
        return self.folder / "champion"

    @property
    def checkpoint(self) -> Path:
        """What may be adopted."""
        return self.folder / CANDIDATE_CHECKPOINT

    @property
    def progress(self) -> Path:
        """Of the training."""
        return self.folder / "progress"

    @property
    def is_planned(self) -> bool:
        """Whether work on it has begun."""
        return (self.folder / PLAN).exists()

    def plan(self) -> RetrainPlan:
        """What is to be done.

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
        """What became of it; None while that is open."""
        file = self.folder / DECISION
        return GateDecision.decode(file.read_bytes()) if file.exists() else None

    def judged(self) -> GateDecision:
        """What became of it.

        Raises:
            CandidateUnknown: there is no such candidate, or it is not judged yet.
        """
        decision = self.decision()
        if decision is None:
            raise CandidateUnknown(f"{self.plan().name} is not judged yet: see `millstream candidates list`")
        return decision

    def judge(self, decision: GateDecision) -> None:
        """Write down what became of it."""
        replace_durably(self.folder / DECISION, decision.encode())

    def tidy(self) -> None:
        """Remove what nobody needs once it is judged."""
        for folder in (self.progress, self.champion):
            shutil.rmtree(folder, ignore_errors=True)


class Candidates:
    """The candidates of one model; `checkpoints` is the folder of its checkpoints."""

    def __init__(self, checkpoints: Path) -> None:
        self._folder = checkpoints / CANDIDATES
        self._folder.mkdir(parents=True, exist_ok=True)

    def all(self) -> list[Candidate]:
        """All that are planned, oldest first."""
        planned = sorted(self._folder.glob(f"*/{PLAN}"), key=lambda path: path.stat().st_mtime)
        return [Candidate(path.parent) for path in planned]

    def named(self, name: str) -> Candidate:
        """The candidate of a name, whether it exists or not."""
        return Candidate(self._folder / name)

    def begin(self, plan: RetrainPlan) -> Candidate:
        """Put down a plan; older candidates beyond the last twenty are removed."""
        candidate = self.named(plan.name)
        candidate.folder.mkdir(exist_ok=True)
        replace_durably(candidate.folder / PLAN, plan.model_dump_json().encode())
        for old in self.all()[:-KEEP]:
            shutil.rmtree(old.folder)
        return candidate

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Work on them alone.

        Raises:
            Occupied: another retrainer does.
        """
        with (self._folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Occupied(f"another retrainer works in {self._folder}: stop it first") from None
            yield
