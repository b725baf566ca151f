"""The stream state is a fold of the log."""

from __future__ import annotations

import numpy as np

from pipeline.config import StreamConfig
from pipeline.events import Interaction, Item
from pipeline.state.histories import Act
from pipeline.state.stream import StreamState
from tests.support.build import MINUTE, matrix_of, purchase

EVENTS = [purchase("u", "cup", 0), purchase("v", "cup", 0), purchase("u", "plate", MINUTE)]


def stream(events: list[Interaction]) -> StreamState:
    made = StreamState(StreamConfig(history_length=2, dedupe_window=2))
    made.ingest([Item(item="cup", title="a cup"), Item(item="plate", title="a plate")])
    made.fold(events)
    return made


def test_folding_counts_acts_histories_and_pairs() -> None:
    made = stream(EVENTS)
    assert made.events == 3
    assert made.acts.tolist() == [2, 1]
    assert [act.item for act in made.histories.of("u")] == ["cup", "plate"]
    assert made.covisitation.suggest([np.array([0])]).toarray()[0, 1] > 0
    assert made.covisitation.suggest([np.array([0])]).toarray()[0, 0] == 0


def test_counts_decay_with_events() -> None:
    made = stream(EVENTS)
    half = StreamState(StreamConfig(covisitation_half_life=3, popularity_half_life=3), made.catalogue)
    half.grow()
    half.fold(EVENTS)
    np.testing.assert_allclose(matrix_of(half.covisitation.counts), [[0, 10], [10, 0]])
    np.testing.assert_allclose(half.popularity.counts, [1, 0.5])
    assert half.acts.tolist() == [2, 1]


def test_a_segment_is_the_history_and_the_new_acts() -> None:
    segment = stream(EVENTS).segment("u", [Act.of(purchase("u", "cup", 2 * MINUTE))])
    assert segment.items.tolist() == [0, 1, 0]
    assert segment.first_new == 2


def test_every_array_covers_each_item() -> None:
    made = stream(EVENTS)
    rows = made.ingest([Item(item="lamp", title="a lamp"), "cup", Item(item="plate", title="a blue plate")])
    assert rows == [2, 1]
    assert made.acts.tolist() == [2, 1, 0]
    assert made.covisitation.counts.size == made.popularity.counts.size == 3
    assert not made.catalogue.available(0)


def test_duplicates_are_detected_by_partition() -> None:
    made = stream([])
    assert [made.first_seen(partition, purchase("ann", "cup", 7)) for partition in (0, 0, 1)] == [
        True,
        False,
        True,
    ]
