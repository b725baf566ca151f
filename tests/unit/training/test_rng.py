"""Draws are determined by seed, generation, step and purpose alone."""

from __future__ import annotations

import itertools

from pipeline.training.rng import Purpose, random_for


def test_the_same_coordinates_draw_the_same_numbers() -> None:
    one, other = (random_for(1, 2, 3, Purpose.REPLAY) for _ in range(2))
    assert one.random(1_000).tolist() == other.random(1_000).tolist()


def test_other_coordinates_draw_others() -> None:
    indices = itertools.product(range(2), range(2), range(2), Purpose)
    draws = [random_for(*place).integers(2**63) for place in indices]
    assert len(set(draws)) == len(draws)


def test_long_draws_of_neighbouring_steps_do_not_overlap() -> None:
    draws = [random_for(0, 0, step, Purpose.NEGATIVES).integers(2**63, size=10_000) for step in range(3)]
    assert len({number for numbers in draws for number in numbers.tolist()}) == 30_000
