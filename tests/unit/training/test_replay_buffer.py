"""The reservoir is a fair sample of every Segment ever offered."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pipeline.events import InteractionType
from pipeline.state.segments import COLUMNS, PURCHASE, TYPE_NUMBERS, Segment
from pipeline.training.replay_buffer import ReplayBuffer
from tests.support.build import segment


def offered(capacity: int, amount: int, seed: int = 0) -> ReplayBuffer:
    made = ReplayBuffer(capacity)
    made.offer([segment([number, number + 1], 1) for number in range(amount)], np.random.default_rng(seed))
    return made


def kept(reservoir: ReplayBuffer) -> list[int]:
    return [int(first) for first in reservoir.state()["items"][::2]]


def as_lists(segments: list[Segment]) -> list[tuple[list[int], int]]:
    return [(one.items.tolist(), one.first_new) for one in segments]


def test_it_keeps_everything_until_it_is_full_and_never_more() -> None:
    assert kept(offered(5, 4)) == [0, 1, 2, 3]
    assert len(offered(5, 100)) == 5


def test_a_piece_does_not_keep_the_segment_alive_that_it_was_cut_from() -> None:
    """Pieces of long histories once held ten times their own size."""
    whole, random = segment(list(range(200)), 190), np.random.default_rng(0)
    reservoir = ReplayBuffer(1)
    for start in (180, 0):  # the second one replaces the first, or is not kept
        reservoir.offer([whole.cut(start, 190)], random)
        (piece,) = reservoir.draw(1, random)
        assert not any(np.shares_memory(getattr(piece, name), getattr(whole, name)) for name in COLUMNS)


def test_every_segment_has_the_same_chance() -> None:
    counts = Counter(number for seed in range(400) for number in kept(offered(5, 20, seed)))
    assert sum(counts.values()) == 2_000
    assert [counts[number] for number in range(20)] == pytest.approx([100] * 20, abs=35)


def test_offers_one_by_one_equal_one_offer() -> None:
    random, made = np.random.default_rng(0), ReplayBuffer(5)
    for number in range(20):
        made.offer([segment([number, number + 1], 1)], random)
    assert kept(made) == kept(offered(5, 20))


def test_draws_are_different_segments() -> None:
    drawn = offered(10, 10).draw(10, np.random.default_rng(1))
    assert sorted(int(one.items[0]) for one in drawn) == list(range(10))
    assert len(offered(10, 3).draw(10, np.random.default_rng(1))) == 3
    assert ReplayBuffer(10).draw(10, np.random.default_rng(1)) == []


@pytest.mark.parametrize("amount", [0, 1, 30])
def test_a_restored_buffer_continues_like_the_original(amount: int) -> None:
    first, second = offered(8, amount), offered(8, 2)
    second.load(first.state())
    for reservoir in (first, second):
        reservoir.offer([segment([n]) for n in range(50, 60)], np.random.default_rng(2))
    draws = [as_lists(made.draw(8, np.random.default_rng(3))) for made in (first, second)]
    assert draws[0] == draws[1]


def test_a_returned_purchase_leaves_the_segments_of_its_user() -> None:
    """The last one of the item in each; what else the user and others did stays."""
    made = ReplayBuffer(10)
    bought = [
        replace(segment([1, 2, 1, 3], 1), user=7),
        replace(segment([4, 1], 1), user=7),
        replace(segment([1, 2], 1), user=8),
        replace(segment([5, 2], 1), user=7),
    ]
    viewed = replace(bought[1], types=bought[1].types + TYPE_NUMBERS[InteractionType.VIEW] - PURCHASE)
    made.offer([*bought, viewed], np.random.default_rng(0))
    captured = made.copy()
    made.take_back([(7, 1), (9, 2)])
    found = ReplayBuffer(10)
    found.load(made.state())
    assert found.state()["lengths"].tolist() == [3, 1, 2, 2, 2]
    assert found.state()["items"].tolist() == [1, 2, 3, 4, 1, 2, 5, 2, 4, 1]
    found.take_back([(7, 1)])
    assert found.state()["items"].tolist() == [2, 3, 4, 1, 2, 5, 2, 4, 1]
    assert captured.state()["lengths"].tolist() == [4, 2, 2, 2, 2]


def test_a_copy_is_independent() -> None:
    made = offered(5, 5)
    captured = made.copy()
    made.offer([segment([n, n]) for n in range(100, 200)], np.random.default_rng(1))
    assert kept(captured) == [0, 1, 2, 3, 4]
