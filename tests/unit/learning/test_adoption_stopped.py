"""An adoption is not lost, repeated or halved, wherever the learner stops around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.learning.frozen import Frozen, freeze
from pipeline.learning.journal import Verb, read_journal
from pipeline.learning.position import Position
from tests.life import Life
from tests.mill import Mill, copy_of, tiny_settings

LEARNED = 4
"""Batches before the orders."""
CANDIDATE = "better"
HOUR_MS = 3_600_000
Orders = Callable[[Mill], None]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """A folder with a log that nobody has read yet, and a candidate that began at 1-2 of it."""
    folder = tmp_path_factory.mktemp("recorded")
    with Mill(tiny_settings(folder, backbone_folder)) as mill:
        mill.stock()
        mill.shop(90)
        mill.act("ann", "red-cup", "unheard-of", event_id="e3")
        mill.writer.append(mill.topics.interactions, "bob", b"bad")
        mill.act("zoë", "unheard-of", "blue-plate")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with copy_of(folder, elsewhere, backbone_folder) as mill, mill.life() as life:
        life.new(2)
        begun = life.frozen()
    with Mill(tiny_settings(folder, backbone_folder)) as mill:
        mill.candidate(CANDIDATE, altered(begun))
    return folder


def altered(frozen: Frozen) -> Frozen:
    """As if it had been trained once more: the same stream state, other weights."""
    return replace(frozen, table={**frozen.table, "residual": frozen.table["residual"] + 0.01})


@pytest.fixture
def mill(recorded: Path, tmp_path: Path, backbone_folder: Path) -> Iterator[Mill]:
    with copy_of(recorded, tmp_path, backbone_folder) as mill:
        yield mill


def rolled_back(mill: Mill) -> None:
    mill.roll_back("1-2", generation=1)


def relearned(mill: Mill) -> None:
    mill.roll_back("1-1", relearn=True)


def promoted(mill: Mill) -> None:
    mill.promote(CANDIDATE, generation=1)


def promoted_and_rolled_back(mill: Mill) -> None:
    mill.promote(CANDIDATE, generation=1)
    mill.promote("nobody")
    mill.roll_back("1-3", generation=2)


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
        with copy_of(recorded, tmp_path_factory.mktemp(name), backbone_folder) as mill, mill.life() as life:
            life.new(LEARNED)
            orders(mill)
            life.new()
            verbs = {entry.verb for entry, _ in read_journal(mill.log, mill.topics.journal)}
            assert Verb.ADOPT in verbs
            found[name] = life.digest(), life.position
    return found


@pytest.mark.parametrize(("turns", "journalled"), STOPS)
@pytest.mark.parametrize("story", STORIES)
def test_a_learner_stopped_anywhere_around_an_adoption_becomes_the_unbroken_one(
    mill: Mill, unbroken: dict[str, tuple[str, Position]], story: str, turns: int, journalled: bool
) -> None:
    with mill.life() as first:
        first.new(LEARNED - 1)
        first.checkpoint()
        first.new(1)
        STORIES[story](mill)
        first.turns(turns)
        if journalled:
            first.journal_only()
    with mill.life() as second:
        second.catch_up()
        assert (second.digest(), second.position) == unbroken[story]
    rebuilt = mill.rebuilt()
    assert (rebuilt.digest, rebuilt.position) == unbroken[story]


@pytest.mark.parametrize("story", STORIES)
def test_a_learner_that_stops_at_every_turn_becomes_the_unbroken_one(
    mill: Mill, unbroken: dict[str, tuple[str, Position]], story: str
) -> None:
    with mill.life() as life:
        life.new(LEARNED)
    STORIES[story](mill)
    for _ in range(4):
        with mill.life() as life:
            life.again()
            life.checkpoint()
            life.journal_only()
    with mill.life() as life:
        life.catch_up()
        assert (life.digest(), life.position) == unbroken[story]


@contextmanager
def larger(mill: Mill) -> Iterator[Life]:
    """A life that has adopted a candidate of another rank, which no setting names."""
    model = mill.learner().shape.model
    other = replace(model, tower=replace(model.tower, lora_rank=3))
    with mill.life() as life:
        birth = life.position
        life.learner.begin(replace(life.learner.shape, model=other))
        mill.candidate("larger", freeze(life.learner, birth))
    with mill.life() as life:
        life.new(2)
        mill.promote("larger")
        life.turns(1)
        yield life


@pytest.mark.parametrize("batches", [0, 1])
def test_a_candidate_of_other_sizes_goes_on_after_a_restart(mill: Mill, batches: int) -> None:
    """The settings' sizes are part of the fingerprint, and nobody has changed a setting."""
    with larger(mill) as life:
        life.turns(batches)
        stopped = life.digest()
    with mill.life() as life:
        life.again()
        assert life.digest() == stopped
        life.new()
        assert life.position.generation == 2
        assert life.learner.shape.model.tower.lora_rank == 3
        assert mill.rebuilt().digest == life.digest()


def test_from_other_sizes_one_can_return_to_the_beginning(mill: Mill) -> None:
    with larger(mill) as life:
        mill.roll_back("1-1")
        life.turns(1)
        assert life.position.version == "3-1"
        assert life.learner.shape.model.tower.lora_rank == mill.settings.model.lora_rank
    rebuilt = mill.rebuilt(until="1-1").frozen
    assert mill.checkpoints.digest(replace(rebuilt, overseer=life.frozen().overseer)) == life.digest()
