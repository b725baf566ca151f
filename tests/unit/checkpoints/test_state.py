"""A captured state does not move with the learner, and its files hold all of it."""

from __future__ import annotations

import orjson
import pytest

from pipeline.checkpoints.capture import capture
from pipeline.checkpoints.state import OUTCOMES, RATINGS, SUPERVISOR, LearnerState, restore
from pipeline.eventlog.partitioner import partition_of
from pipeline.journal.position import Position
from pipeline.monitoring.supervisor import Supervisor
from pipeline.state.dedupe import Sighting
from pipeline.state.histories import decode_history
from pipeline.training.learner import Learner
from tests.support.checkpoint_tools import to_files
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import PARTITIONS, ModelHarness

BIRTH = Position(1, 0, "", 0, {}, through=0, control=0, fold_to={})


def busy(learning: LearnerHarness, harness: ModelHarness) -> LearnerState:
    """The state after some batches with everything in them."""
    harness.stock()
    harness.shop(40)
    harness.act("zoë", "item-without-text")
    harness.act("zoë", "red-cup", "red-plate", rating=4.5)
    harness.show("zoë", "red-cup", "red-plate", name="shown")
    harness.act("zoë", "red-plate", impression="shown")
    harness.act("zoë", "red-cup", impression="to-come")
    learning.new()
    return learning.captured()


def restored(harness: ModelHarness, files: dict[str, bytes]) -> tuple[Learner, Supervisor]:
    learner, supervisor = harness.learner(), harness.supervisor()
    restore(learner, supervisor, learner.config.sizes, files)
    return learner, supervisor


def test_a_captured_state_does_not_move_with_the_learner(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        captured = busy(learning, harness)
        before = to_files(captured, PARTITIONS)
        harness.upsert("red-cup", "another red cup")
        harness.shop(40)
        learning.new()
        assert to_files(captured, PARTITIONS) == before
        assert to_files(learning.captured(), PARTITIONS) != before


def test_a_restored_learner_makes_the_same_files(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        files = to_files(busy(learning, harness), PARTITIONS)
    assert to_files(capture(*restored(harness, files), BIRTH), PARTITIONS) == files
    assert b'"shown"' in files[OUTCOMES] and b'"to-come"' in files[OUTCOMES]


def test_a_state_from_before_outcomes_is_restored_without_any(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        files = to_files(busy(learning, harness), PARTITIONS)
    older = {name: content for name, content in files.items() if name != OUTCOMES}
    again = to_files(capture(*restored(harness, older), BIRTH), PARTITIONS)
    assert {name for name in files if files[name] != again[name]} == {OUTCOMES, RATINGS, SUPERVISOR}
    assert b'"shown"' not in again[OUTCOMES], "and its monitors, whose figures were others, begin again"


def test_a_learner_that_has_seen_nothing_can_be_restored(harness: ModelHarness) -> None:
    files = to_files(capture(harness.learner(), harness.supervisor(), BIRTH), PARTITIONS)
    assert to_files(capture(*restored(harness, files), BIRTH), PARTITIONS) == files


@pytest.mark.parametrize("order", ["backwards", "sorted"])
def test_equal_states_make_equal_files_in_whatever_order_users_came(
    harness: ModelHarness, order: str
) -> None:
    with harness.learning() as learning:
        files = to_files(busy(learning, harness), PARTITIONS)
    names = sorted(files) if order == "sorted" else list(files)[::-1]
    learner, supervisor = restored(harness, {name: files[name] for name in names})
    users = [user for user, _ in learner.stream.histories.items()]
    assert users != [user for user, _ in learning.learner.stream.histories.items()]
    assert to_files(capture(learner, supervisor, BIRTH), PARTITIONS) == files


def test_every_user_is_in_the_file_of_their_partition(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        files = to_files(busy(learning, harness), PARTITIONS)
        known = dict(learning.learner.stream.histories.items())
    found = {}
    for partition in range(PARTITIONS):
        for user, wire in orjson.loads(files[f"histories-{partition}.json"]).items():
            assert partition_of(user, PARTITIONS) == partition
            found[user] = decode_history(wire)[0]
    assert found == known
    assert "zoë" in known


def test_a_restored_learner_knows_duplicates(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        captured = busy(learning, harness)
    learner, _ = restored(harness, to_files(captured, PARTITIONS))
    for partition, seen in captured.seen.items():
        assert seen.size
        events = zip(*seen.tolist(), strict=True)
        known = learner.stream.seen[partition]
        assert all(known.add(*event) is Sighting.DUPLICATE for event in events)
        assert known.add(int(seen[0, 0]), int(seen[1, 0]) ^ 1) is Sighting.COLLISION
