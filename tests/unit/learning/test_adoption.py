"""Going on from another state: what becomes of the learner, and what of the stream it has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.eventlog.sqlite import SqliteLog
from pipeline.learning.frozen import Frozen
from pipeline.learning.learner import Learner
from tests.life import Life
from tests.mill import BATCH, Mill

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def log(mill: Mill) -> None:
    """What there is to learn."""
    mill.stock()
    mill.shop(90)
    mill.act("ann", "red-cup", "unheard-of", event_id="e3")
    mill.writer.append(mill.topics.interactions, "bob", b"bad")
    mill.act("zoë", "unheard-of", "blue-plate")


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


def learned_of(frozen: Frozen, rows: int) -> dict[str, Tensor]:
    """Weights, moments, mixer, and so many rows of the table."""
    return frozen.learned | {name: tensor[:rows] for name, tensor in frozen.table.items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def through_the_gap(life: Life) -> int:
    """Go on until there is nothing left to fold; batches that it took."""
    batches = 0
    while life.position.offsets != life.position.fold_to:
        (batch,) = life.new(1)
        assert not batch.micro.learns
        batches += 1
    return batches


def test_a_rollback_forgets_what_was_learned_and_nothing_of_the_stream(mill: Mill) -> None:
    with mill.life() as life:
        life.new(2)
        version, rows = life.frozen(), len(life.learner.stream.catalogue)
        life.new(3)
        stayed, popular = stream_of(life.learner), life.learner.stream.popularity.counts
        memory = life.learner.stream.memory.counts.totals
        left = life.position
        mill.roll_back("1-2")
        life.turns(1)
        assert_equal(learned_of(life.frozen(), rows), learned_of(version, rows))
        assert through_the_gap(life) > 0
        assert life.position.offsets == left.offsets
        assert stream_of(life.learner) == stayed
        # Counts fade at the ends of batches, and the gap was cut into others.
        stream = life.learner.stream
        np.testing.assert_allclose(stream.popularity.counts, popular, rtol=0.01)
        np.testing.assert_allclose(stream.memory.counts.totals, memory, rtol=0.01)
        assert_equal(learned_of(life.frozen(), rows), learned_of(version, rows))
        kept = life.frozen().replay.state()["offered"].item()
        assert kept == version.replay.state()["offered"].item(), "what was folded is not replayed"
        (batch,) = life.new(1)
        assert batch.micro.learns
        assert life.position.fold_to == {}
        assert not torch.equal(life.learner.mixer.weights, version.learned["mixer.weights"])


@pytest.mark.parametrize("kind", ["promotion", "rollback"])
def test_the_overseer_goes_on_as_it_is(mill: Mill, kind: str) -> None:
    with mill.life() as life:
        life.new(2)
        mill.candidate("better", life.frozen())
        life.new(2)
        before = life.learner.overseer.state()
        key = mill.promote("better") if kind == "promotion" else mill.roll_back("1-2")
        life.turns(1)
        after = life.learner.overseer.state()
    assert key.startswith(kind)
    assert after["monitor"]["events"] == before["monitor"]["events"] > 20
    assert after["policy"] == before["policy"]
    assert after["guard"]["probation"] == ("1-4" if kind == "promotion" else None)
    kept = [mean for mean, _ in before["guard"]["recent"]] if kind == "promotion" else []
    assert kept or kind == "rollback"
    assert after["guard"]["reference"] == before["guard"]["reference"] + kept


def test_a_rollback_to_relearn_is_as_if_it_had_only_just_got_there(mill: Mill) -> None:
    with mill.life() as life:
        life.new(4)
        mill.roll_back("1-2", relearn=True)
        batches = life.new()
    assert all(batch.micro.learns for batch in batches)
    events = [event for batch in life.learned[:2] + batches for event in batch.micro.interactions]
    assert len({(event.user, event.event_id) for event in events}) == len(events)
    assert len(events) == life.learner.stream.events == mill.rebuilt().learner.stream.events


def test_a_rollback_while_a_gap_is_folded_folds_to_the_end_of_the_first(mill: Mill) -> None:
    with mill.life() as life:
        life.new(5)
        left = life.position
        mill.roll_back("1-2")
        life.turns(1)
        (batch,) = life.new(1)
        assert not batch.micro.learns
        mill.roll_back("1-1")
        life.turns(1)
        assert life.position.version == "3-1"
        assert life.position.fold_to == left.offsets
        through_the_gap(life)
        assert life.position.offsets == left.offsets
        assert life.new(1)[0].micro.learns


def test_a_gap_that_compaction_took_is_gone_through(mill: Mill, tmp_path: Path) -> None:
    with mill.life() as life:
        life.new()
        version = life.position.version
        for number in range(3 * BATCH):
            mill.upsert("red-cup", f"title {number}")
        life.new()
        left = life.position
        mill.roll_back(version)
        life.turns(1)
        later = mill.records(mill.topics.items)[-1].append_time
        later += int(mill.settings.log.compaction_lag_hours * HOUR_MS) + 1
        with SqliteLog(tmp_path / "log.db", lambda: later) as log:
            log.upkeep()
        assert len(mill.records(mill.topics.items)) < 3 * BATCH
        through_the_gap(life)
        assert life.position.offsets == left.offsets


def test_duplicates_are_told_apart_by_what_was_adopted(mill: Mill) -> None:
    with mill.life() as life:
        life.new()
        before = life.learner.stream.events
        mill.roll_back("1-1")
        life.new()
        assert life.learner.stream.events == before
        mill.act("ann", "red-cup", event_id="e50")
        duplicates = [batch.duplicates for batch in life.new()]
    assert sum(duplicates) in (0, 1)
    assert life.learner.stream.events == before + 1 - sum(duplicates)
