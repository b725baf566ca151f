"""Rehearsals are owed for what was learned, are taken while little waits, and come again from the journal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.audit.journal import check_journal
from pipeline.config import BatchConfig, Settings
from pipeline.journal.entry import read_journal
from pipeline.journal.rehearsals import MOST_OWED, Rehearsals
from pipeline.state.micro_batch import MicroBatch
from tests.support.build import purchase
from tests.support.learner_harness import LearnerHarness
from tests.support.model_harness import BATCH, ModelHarness

REHEARSAL = MicroBatch(1, 1, [], [], learns=False, rehearses=True)
EVENTS = [purchase("ann", "red-cup", time) for time in range(8)]
LEARNED, FOLDED = MicroBatch(1, 1, [], EVENTS), MicroBatch(1, 1, [], EVENTS, learns=False)


@pytest.fixture
def rehearsing(settings: Settings) -> Iterator[ModelHarness]:
    """A model that owes a rehearsal for each full batch, with a catalogue."""
    batch = settings.batch.replace(rehearse_events=BATCH)
    with ModelHarness(settings.model_copy(update={"batch": batch})) as harness:
        harness.stock()
        yield harness


def sizes(learning: LearnerHarness) -> list[int | str]:
    """What was done, oldest first: the sizes of batches, or "r" for a rehearsal."""
    return ["r" if b.micro.rehearses else len(b.micro.interactions) for b in learning.learned]


def test_they_are_owed_for_what_was_learned() -> None:
    rehearsals = Rehearsals(BatchConfig(rehearse_events=10))
    rehearsals.add(LEARNED)
    rehearsals.add(FOLDED)
    assert not rehearsals.is_owed, "8 were learned"
    rehearsals.add(LEARNED)
    assert rehearsals.is_owed
    rehearsals.add(REHEARSAL)
    assert not rehearsals.is_owed, "6 are left"


def test_none_is_owed_where_settings_want_none() -> None:
    rehearsals = Rehearsals(BatchConfig(rehearse_events=0))
    rehearsals.add(LEARNED)
    assert not rehearsals.is_owed


def test_what_is_owed_lapses_so_that_an_idle_learner_rests() -> None:
    rehearsals = Rehearsals(BatchConfig(rehearse_events=1))
    for _ in range(10 * MOST_OWED):
        rehearsals.add(LEARNED)
    taken = 0
    while rehearsals.is_owed:
        rehearsals.add(REHEARSAL)
        taken += 1
    assert taken == MOST_OWED


def test_few_records_wait_for_a_rehearsal_and_never_for_two() -> None:
    rehearsals = Rehearsals(BatchConfig(events=16, rehearse_events=1))
    rehearsals.add(LEARNED)
    assert rehearsals.most_waiting == 4
    rehearsals.add(REHEARSAL)
    assert rehearsals.most_waiting == 0
    rehearsals.add(LEARNED)
    assert rehearsals.most_waiting == 4


def test_no_rehearsal_while_records_wait(rehearsing: ModelHarness) -> None:
    rehearsing.shop(4 * BATCH)
    with rehearsing.learning() as learning:
        learning.turns(5)
        assert sizes(learning) == [BATCH, BATCH, BATCH, BATCH, "r"]
        rehearsing.shop(2 * BATCH)
        learning.new()
    assert sizes(learning)[5:] == [BATCH, BATCH, *"rrrrr"], "and then the learner rests"


def test_a_few_records_wait_for_one_rehearsal(rehearsing: ModelHarness) -> None:
    rehearsing.shop(2 * BATCH)
    with rehearsing.learning() as learning:
        learning.turns(2)
        rehearsing.shop(BATCH // 4)
        learning.new()
    assert sizes(learning) == [BATCH, BATCH, "r", BATCH // 4, "r"]


def test_items_that_wait_are_not_kept_waiting_either(rehearsing: ModelHarness) -> None:
    rehearsing.shop(BATCH)
    with rehearsing.learning() as learning:
        learning.turns(1)
        rehearsing.stock()
        learning.new()
    assert sizes(learning) == [BATCH, 0, "r"]


def test_none_is_taken_where_settings_want_none(harness: ModelHarness) -> None:
    harness.stock()
    harness.shop(3 * BATCH)
    with harness.learning() as learning:
        learning.new()
    assert sizes(learning) == [BATCH, BATCH, BATCH]


@pytest.mark.parametrize(
    ("stop", "kept"), [(stop, kept) for stop in range(6) for kept in {0, stop // 2, stop}]
)
def test_a_learner_stopped_anywhere_becomes_the_unbroken_one(
    rehearsing: ModelHarness, stop: int, kept: int
) -> None:
    rehearsing.shop(3 * BATCH)
    with rehearsing.learning() as first:
        first.turns(kept)
        if kept:
            first.checkpoint()
        first.turns(stop - kept)
        stopped = first.digest()
        first.new()
        assert sizes(first) == [BATCH, BATCH, BATCH, *"rrr"]
    with rehearsing.learning() as second:
        recovered = second.recover()
        assert [b.micro for b in recovered] == [b.micro for b in first.learned[kept:]]
        assert second.digest() == first.digest()
        assert second.new() == [], "a restart owes nothing"
    version = first.learned[stop - 1].position.version if stop else f"{first.position.generation}-0"
    assert rehearsing.rebuilt(until=version).digest == stopped
    assert rehearsing.rebuilt().digest == first.digest()


def test_none_is_taken_while_a_rollback_folds(rehearsing: ModelHarness) -> None:
    rehearsing.shop(3 * BATCH)
    with rehearsing.learning() as learning:
        learning.new()
        rehearsing.roll_back(learning.learned[0].position.version)
        learning.new()
        rehearsing.shop(BATCH)
        learning.new()
        ends = rehearsing.log.end_offsets(rehearsing.topics.inputs)
        entries = [entry for entry, _ in read_journal(rehearsing.log, rehearsing.topics.journal)]
        assert check_journal(entries, ends).findings == ()
    assert sizes(learning) == [BATCH, BATCH, BATCH, *"rrr", 2 * BATCH, BATCH, "r"]
    assert not learning.learned[6].micro.learns, "it was folded"
    assert rehearsing.rebuilt().digest == learning.digest()
