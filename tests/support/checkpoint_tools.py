"""Checkpoints for tests: two of a small model, one that nothing was learned for, and what is restored."""

from __future__ import annotations

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.state import LearnerState
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
