"""Going on from another state: what becomes of the learner, and what of the stream it has seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.checkpoints.state import LearnerState
from pipeline.control.records import Refusal
from pipeline.eventlog.sqlite import SqliteLog
from pipeline.events import User, encode
from pipeline.journal.position import of_topic
from pipeline.training.learner import Learner
from tests.support.build import matrix_of
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import BATCH, ModelHarness

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def log(harness: ModelHarness) -> None:
    """What there is to learn."""
    harness.stock()
    harness.shop(90)
    harness.act("ann", "red-cup", "unheard-of", event_id="e3")
    harness.writer.append(harness.topics.interactions, "bob", b"bad")
    harness.act("zoë", "unheard-of", "blue-plate")


def stream_of(learner: Learner) -> dict[str, object]:
    """What the learner knows of the stream, to the bit, by item and not by row."""
    stream = learner.stream
    items = stream.catalogue.ids
    return {
        "histories": dict(stream.histories.items()),
        "seen": {partition: sorted(seen.to_array().tolist()) for partition, seen in stream.seen.items()},
        "acts": dict(zip(items, stream.acts.tolist(), strict=True)),
        "texts": {item: stream.catalogue.text(stream.catalogue.row(item)) for item in items},
        "events": stream.events,
    }


def learned_of(captured: LearnerState, rows: int) -> dict[str, Tensor]:
    """Weights, moments, mixer, and so many rows of the table."""
    return captured.learned | {name: tensor[:rows] for name, tensor in captured.table.items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def through_the_gap(learning: LearnerHarness) -> int:
    """Go on until there is nothing left to fold; batches that it took."""
    batches = 0
    while not learning.position.fold_to.items() <= learning.position.offsets.items():
        (batch,) = learning.new(1)
        assert not batch.micro.learns
        batches += 1
    return batches


def test_a_rollback_forgets_what_was_learned_and_nothing_of_the_stream(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.new(2)
        version, rows = learning.captured(), len(learning.learner.stream.catalogue)
        learning.new(3)
        stayed, popular = stream_of(learning.learner), learning.learner.stream.popularity.counts
        covisitation = matrix_of(learning.learner.stream.covisitation.counts).sum(axis=1)
        left = learning.position
        harness.roll_back("1-2")
        learning.turns(1)
        assert_equal(learned_of(learning.captured(), rows), learned_of(version, rows))
        assert through_the_gap(learning) > 0
        assert learning.position.offsets == left.offsets
        assert stream_of(learning.learner) == stayed
        # Counts fade at the ends of batches, and the gap was cut into others.
        stream = learning.learner.stream
        np.testing.assert_allclose(stream.popularity.counts, popular, rtol=0.01)
        np.testing.assert_allclose(matrix_of(stream.covisitation.counts).sum(axis=1), covisitation, rtol=0.01)
        assert_equal(learned_of(learning.captured(), rows), learned_of(version, rows))
        kept = learning.captured().replay.state()["offered"].item()
        assert kept == version.replay.state()["offered"].item(), "what was folded is not replayed"
        (batch,) = learning.new(1)
        assert batch.micro.learns
        assert learning.position.fold_to == {}
        assert not torch.equal(learning.learner.mixer.weights, version.learned["mixer.weights"])


@pytest.mark.parametrize("kind", ["promotion", "rollback"])
def test_the_supervisor_keeps_what_it_knows(harness: ModelHarness, kind: str) -> None:
    with harness.learning() as learning:
        learning.new(2)
        harness.candidate("better", learning.captured())
        learning.new(2)
        before = learning.supervisor.state()
        key = harness.promote("better") if kind == "promotion" else harness.roll_back("1-2")
        learning.turns(1)
        after = learning.supervisor.state()
    assert key.startswith(kind)
    assert after["monitor"]["events"] == before["monitor"]["events"] > 20
    assert after["requests"] == before["requests"]
    assert after["guard"]["probation"] == ("1-4" if kind == "promotion" else None)
    kept = [block for block, _ in before["guard"]["recent"]] if kind == "promotion" else []
    assert kept or kind == "rollback"
    assert after["guard"]["reference"] == before["guard"]["reference"] + kept


def test_a_rollback_to_relearn_is_as_if_it_had_only_just_got_there(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.new(4)
        harness.roll_back("1-2", relearn=True)
        batches = learning.new()
    assert all(batch.micro.learns for batch in batches)
    events = [event for batch in learning.learned[:2] + batches for event in batch.micro.interactions]
    assert len({(event.user, event.event_id) for event in events}) == len(events)
    assert len(events) == learning.learner.stream.events == harness.rebuilt().learner.stream.events


def test_a_rollback_while_a_gap_is_folded_folds_to_the_end_of_the_first(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.new(5)
        left = learning.position
        harness.roll_back("1-2")
        learning.turns(1)
        (batch,) = learning.new(1)
        assert not batch.micro.learns
        harness.roll_back("1-1")
        learning.turns(1)
        assert learning.position.version == "3-1"
        assert learning.position.fold_to == harness.learned(left)
        through_the_gap(learning)
        assert learning.position.offsets == left.offsets
        assert learning.new(1)[0].micro.learns


def test_a_gap_that_compaction_took_is_gone_through(harness: ModelHarness, tmp_path: Path) -> None:
    with harness.learning() as learning:
        learning.new()
        version = learning.position.version
        for number in range(3 * BATCH):
            harness.upsert("red-cup", f"title {number}")
        learning.new()
        left = learning.position
        harness.roll_back(version)
        learning.turns(1)
        later = harness.records(harness.topics.items)[-1].append_time
        later += int(harness.settings.log.compaction_lag_hours * HOUR_MS) + 1
        with SqliteLog(tmp_path / "log.db", lambda: later) as log:
            log.upkeep()
        assert len(harness.records(harness.topics.items)) < 3 * BATCH
        through_the_gap(learning)
        assert learning.position.offsets == left.offsets


def test_duplicates_are_told_apart_by_what_was_adopted(harness: ModelHarness) -> None:
    with harness.learning() as learning:
        learning.new()
        before = learning.learner.stream.events
        harness.roll_back("1-1")
        learning.new()
        assert learning.learner.stream.events == before
        harness.act("ann", "red-cup", event_id="e50")
        duplicates = [batch.duplicates for batch in learning.new()]
    assert sum(duplicates) in (0, 1)
    assert learning.learner.stream.events == before + 1 - sum(duplicates)


def test_a_state_without_users_or_beyond_those_of_the_log_reads_them_all(harness: ModelHarness) -> None:
    sizes = harness.settings.learn.sizes.replace(user_attributes=("country",))
    settings = harness.settings.model_copy(update={"learn": harness.settings.learn.replace(sizes=sizes)})
    users = harness.topics.users
    harness.writer.append(users, "ann", encode(User(user="ann", attributes={"country": "France"})))
    with harness.learning(settings) as learning:
        learning.new(3)
        captured, begins = learning.captured(), harness.log.begin_offsets([users])
        read = of_topic(users, captured.position.offsets)
        assert read.keys() == begins.keys() and read != begins
        lost = {source: at for source, at in captured.position.offsets.items() if source not in begins}
        ahead = captured.position.offsets | dict.fromkeys(begins, 99)
        for name, offsets in (("older", lost), ("ahead", ahead)):
            state = replace(captured, position=replace(captured.position, offsets=offsets))
            harness.candidate(name, state)
            harness.promote(name)
            learning.turns(1)
            assert of_topic(users, learning.position.offsets) == begins
    assert harness.published(Refusal) == []
