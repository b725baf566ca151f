"""What a retrain has reached, in one file: a run that was killed goes on from its last epoch.

One safetensors file holds the tensors and, as JSON in its header, the rest; it is written
to a temporary name, fsynced and renamed, so that it is there whole or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.atomic_files import replace_durably
from pipeline.model.tensors import under
from pipeline.retraining.training.validation import Validation

FILE = "retraining.safetensors"
HEADER = "reached"


class Reached(BaseModel):
    """Where a retrain stands after an epoch.

    Attributes:
        task: digest of what is retrained, on what and how.
        validations: before the first epoch, and after each.
        events: targets trained on.
        seconds: spent so far.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    format: Literal[1] = 1
    task: str
    validations: tuple[Validation, ...]
    events: int = 0
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The last one finished; 0 before the first."""
        return len(self.validations) - 1

    @property
    def best_epoch(self) -> int:
        """The one with the lowest log-loss; 0 if none was better than the start."""
        losses = np.array([validation.log_loss for validation in self.validations])
        return int(np.nan_to_num(losses, nan=np.inf).argmin())


@dataclass(frozen=True)
class Progress:
    """What was reached, with the learned state there and at the best epoch, by dotted name."""

    reached: Reached
    current: dict[str, Tensor]
    best: dict[str, Tensor]


def write_progress(folder: Path, progress: Progress) -> None:
    """Replace what the folder holds, durably."""
    tensors = {f"current.{name}": tensor for name, tensor in progress.current.items()}
    if progress.best is not progress.current:
        tensors |= {f"best.{name}": tensor for name, tensor in progress.best.items()}
    replace_durably(folder / FILE, save(tensors, {HEADER: progress.reached.model_dump_json()}))


def read_progress(folder: Path, task: str) -> Progress | None:
    """What the folder holds of this task; None if there is nothing."""
    path = folder / FILE
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        reached = Reached.model_validate_json(file.metadata()[HEADER])
        if reached.task != task:
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    current = under("current.", tensors)
    return Progress(reached, current, under("best.", tensors) or current)
