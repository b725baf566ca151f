"""An adoption is not lost, repeated or halved, wherever the learner stops around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.state import LearnerState
from pipeline.journal.entry import Verb, read_journal
from pipeline.journal.position import Position
from pipeline.model.captured_columns import CapturedColumns
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import ModelHarness, copy_of, tiny_settings

LEARNED = 4
"""Batches before the orders."""
CANDIDATE = "better"
HOUR_MS = 3_600_000
Orders = Callable[[ModelHarness], None]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """A folder with a log that nobody has read yet, and a candidate that began at 1-2 of it."""
    folder = tmp_path_factory.mktemp("recorded")
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness:
        harness.stock()
        harness.shop(90)
        harness.act("ann", "red-cup", "unheard-of", event_id="e3")
        harness.writer.append(harness.topics.interactions, "bob", b"bad")
        harness.act("zoë", "unheard-of", "blue-plate")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with copy_of(folder, elsewhere, backbone_folder) as harness, harness.learning() as learning:
        learning.new(2)
        begun = learning.captured()
    with ModelHarness(tiny_settings(folder, backbone_folder)) as harness:
        harness.candidate(CANDIDATE, altered(begun))
    return folder


def altered(captured: LearnerState) -> LearnerState:
    """As if it had been trained once more: the same stream state, other weights."""
    table = {**captured.table, "residual": captured.table["residual"] + 0.01}
    return replace(captured, table=CapturedColumns(table))


@pytest.fixture
def harness(recorded: Path, tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    with copy_of(recorded, tmp_path, backbone_folder) as harness:
        yield harness


def rolled_back(harness: ModelHarness) -> None:
    harness.roll_back("1-2", generation=1)


def relearned(harness: ModelHarness) -> None:
    harness.roll_back("1-1", relearn=True)


def promoted(harness: ModelHarness) -> None:
    harness.promote(CANDIDATE, generation=1)


def promoted_and_rolled_back(harness: ModelHarness) -> None:
    harness.promote(CANDIDATE, generation=1)
    harness.promote("nobody")
    harness.roll_back("1-3", generation=2)


STORIES: dict[str, Orders] = {
    story.__name__: story for story in (rolled_back, relearned, promoted, promoted_and_rolled_back)
}
STOPS = [(turns, journalled) for turns in (0, 1, 2, 3) for journalled in (False, True)]


@pytest.fixture(scope="module")
def unbroken(
    recorded: Path, tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path
) -> dict[str, tuple[str, Position]]:
    """By story, the digest and position of a learner that never stopped."""
    found = {}
    for name, orders in STORIES.items():
        with (
            copy_of(recorded, tmp_path_factory.mktemp(name), backbone_folder) as harness,
            harness.learning() as learning,
        ):
            learning.new(LEARNED)
            orders(harness)
            learning.new()
            verbs = {entry.verb for entry, _ in read_journal(harness.log, harness.topics.journal)}
            assert Verb.ADOPT in verbs
            found[name] = learning.digest(), learning.position
    return found


@pytest.mark.parametrize(("turns", "journalled"), STOPS)
@pytest.mark.parametrize("story", STORIES)
def test_a_learner_stopped_anywhere_around_an_adoption_becomes_the_unbroken_one(
    harness: ModelHarness, unbroken: dict[str, tuple[str, Position]], story: str, turns: int, journalled: bool
) -> None:
    with harness.learning() as first:
        first.new(LEARNED - 1)
        first.checkpoint()
        first.new(1)
        STORIES[story](harness)
        first.turns(turns)
        if journalled:
            first.journal_only()
    with harness.learning() as second:
        second.catch_up()
        assert (second.digest(), second.position) == unbroken[story]
    rebuilt = harness.rebuilt()
    assert (rebuilt.digest, rebuilt.position) == unbroken[story]


@pytest.mark.parametrize("story", STORIES)
def test_a_learner_that_stops_at_every_turn_becomes_the_unbroken_one(
    harness: ModelHarness, unbroken: dict[str, tuple[str, Position]], story: str
) -> None:
    with harness.learning() as learning:
        learning.new(LEARNED)
    STORIES[story](harness)
    for _ in range(4):
        with harness.learning() as learning:
            learning.recover()
            learning.checkpoint()
            learning.journal_only()
    with harness.learning() as learning:
        learning.catch_up()
        assert (learning.digest(), learning.position) == unbroken[story]


@contextmanager
def larger(harness: ModelHarness) -> Iterator[LearnerHarness]:
    """A learner that has adopted a candidate of another rank, which no setting names."""
    other = harness.learner().config.sizes.replace(lora_rank=3)
    with harness.learning() as learning:
        birth = learning.position
        learning.learner.reset(learning.learner.config.replace(sizes=other))
        harness.candidate("larger", capture(learning.learner, None, birth))
    with harness.learning() as learning:
        learning.new(2)
        harness.promote("larger")
        learning.turns(1)
        yield learning


@pytest.mark.parametrize("batches", [0, 1])
def test_a_candidate_of_other_sizes_goes_on_after_a_restart(harness: ModelHarness, batches: int) -> None:
    """The settings' sizes are part of the fingerprint, and nobody has changed a setting."""
    with larger(harness) as learning:
        learning.turns(batches)
        stopped = learning.digest()
    with harness.learning() as learning:
        learning.recover()
        assert learning.digest() == stopped
        learning.new()
        assert learning.position.generation == 2
        assert learning.learner.config.sizes.lora_rank == 3
        assert harness.rebuilt().digest == learning.digest()


def test_from_other_sizes_one_can_return_to_the_beginning(harness: ModelHarness) -> None:
    with larger(harness) as learning:
        harness.roll_back("1-1")
        learning.turns(1)
        assert learning.position.version == "3-1"
        assert learning.learner.config.sizes.lora_rank == harness.settings.learn.sizes.lora_rank
    rebuilt = harness.rebuilt(until="1-1").captured
    assert (
        harness.checkpoints.digest(replace(rebuilt, supervisor=learning.captured().supervisor))
        == learning.digest()
    )
