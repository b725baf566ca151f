"""Checkpoints for tests: two of a small model, one that nothing was learned for, and what is restored."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.state import LearnerState, file_parts
from pipeline.config import Settings
from pipeline.journal.position import Position
from tests.support.model_harness import ModelHarness


def checkpointed_twice(harness: ModelHarness) -> tuple[str, str]:
    """Checkpoints at 1-2 and 1-4; their digests."""
    harness.stock()
    harness.shop(60)
    with harness.learning() as learning:
        learning.new(2)
        older = learning.checkpoint()
        learning.new(2)
        return older, learning.checkpoint()


def born(harness: ModelHarness, step: int) -> LearnerState:
    """A learner that has seen nothing, but says that it stands after a step."""
    position = Position(1, step, "", 0, {}, through=0, control=0, fold_to={})
    return capture(harness.learner(), harness.supervisor(), position)


def restored(harness: ModelHarness) -> Position | None:
    """Restore the newest readable checkpoint into a new learner."""
    return harness.checkpoints.restore(harness.learner(), harness.supervisor())


def version(position: Position | None) -> str | None:
    return position.version if position else None


def with_fewer_tokens(settings: Settings) -> Settings:
    """Settings by which less of each text is read."""
    return settings.model_copy(update={"model": settings.model.replace(max_tokens=3)})


def with_other_weights(settings: Settings) -> Settings:
    """Settings with a language model of the same widths and other weights, beside the snapshots."""
    folder = Path(settings.snapshots.store).parent / "other-backbone"
    shutil.copytree(settings.model.backbone, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor + 0.1 for name, tensor in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return settings.model_copy(update={"model": settings.model.replace(backbone=str(folder))})


def to_files(captured: LearnerState, partitions: int) -> dict[str, bytes]:
    """Encode a state as files by name, in memory."""
    return {name: b"".join(parts) for name, parts in file_parts(captured, partitions)}
