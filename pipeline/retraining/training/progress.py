"""The progress of a retrain in one file, so that a killed run resumes after its last epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from pipeline.model.tensors import under
from pipeline.retraining.training.stored import read_stored, write_stored
from pipeline.retraining.training.validation import Validation

FILE = "retraining.progress"


class TrainingStatus(BaseModel):
    """The status of a retrain after an epoch.

    Attributes:
        task: digest of the learner, the data and the settings.
        validations: before the first epoch, and after each.
        events: number of targets trained on.
        seconds: time spent so far.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    format: Literal[1] = 1
    task: str
    validations: tuple[Validation, ...]
    events: int = 0
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The last finished epoch; 0 before the first."""
        return len(self.validations) - 1

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest log-loss; 0 if none was better than the start."""
        losses = np.array([validation.log_loss for validation in self.validations])
        return int(np.nan_to_num(losses, nan=np.inf).argmin())


@dataclass(frozen=True)
class Progress:
    """A status, with the learned state then and at the best epoch, by dotted name."""

    status: TrainingStatus
    current: dict[str, Tensor]
    best: dict[str, Tensor]


def write_progress(folder: Path, progress: Progress) -> None:
    """Replace the stored progress, durably."""
    tensors = {f"current.{name}": tensor for name, tensor in progress.current.items()}
    if progress.best is not progress.current:
        tensors |= {f"best.{name}": tensor for name, tensor in progress.best.items()}
    write_stored(folder / FILE, tensors, progress.status.model_dump_json())


def read_progress(folder: Path, task: str) -> Progress | None:
    """Read the stored progress of this task; None if there is none, or a damaged one."""
    stored = read_stored(folder / FILE, TrainingStatus.model_validate_json)
    if stored is None or stored[0].task != task:
        return None
    status, tensors = stored
    current = under("current.", tensors)
    return Progress(status, current, under("best.", tensors) or current)
