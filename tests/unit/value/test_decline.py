"""A decline is found soon after rewards have fallen, and seldom where they have not."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.value.decline import APART, CLEAR, SLACK, DeclineDetector
from pipeline.value.port import Floats
from tests.support.decisions import equal

BATCH = 50


def found(detector: DeclineDetector, shortfalls: Floats) -> list[int]:
    """The numbers of decisions after which there was a decline."""
    ends = range(BATCH, len(shortfalls) + 1, BATCH)
    return [end for end in ends if detector.add(shortfalls[end - BATCH : end])]


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_decline_and_neither_is_a_rise(seed: int) -> None:
    random = np.random.default_rng(seed)
    assert found(DeclineDetector(), random.normal(0, 1, 40_000)) == []
    assert found(DeclineDetector(), random.normal(-1, 1, 10_000)) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_is_found_as_soon_as_its_sum_is_clear(seed: int) -> None:
    shortfalls = np.random.default_rng(seed).normal(0, 1, 6_000)
    shortfalls[5_000:] += 0.5
    (at,) = found(DeclineDetector(), shortfalls)
    assert 5_000 < at < 5_000 + 2 * CLEAR / (0.5 - SLACK)


def test_after_a_decline_the_next_one_waits() -> None:
    detector = DeclineDetector()
    assert found(detector, np.ones(3 * APART)) == [APART + 100, 2 * APART + 200]


def test_nothing_counts_before_something_was_learned() -> None:
    assert found(DeclineDetector(), np.ones(APART)) == []


def test_it_goes_on_from_its_state() -> None:
    detector, restored = DeclineDetector(), DeclineDetector()
    found(detector, np.ones(APART + 50))
    restored.load(detector.state())
    assert equal(restored.state(), detector.state())
    assert restored.add(np.ones(BATCH)) == detector.add(np.ones(BATCH)) is True


@pytest.mark.parametrize("seed", range(5))
def test_it_says_about_when_a_fall_began(seed: int) -> None:
    detector, shortfalls = DeclineDetector(), np.random.default_rng(seed).normal(0, 1, 6_000)
    shortfalls[5_020:] += 1
    at = next(end for end in range(BATCH, 6_001, BATCH) if detector.add(shortfalls[end - BATCH : end]))
    assert 4_400 < at - detector.falling <= 5_030


def test_what_is_not_falling_is_of_no_decisions() -> None:
    detector = DeclineDetector()
    detector.add(np.ones(APART))
    assert detector.falling == 0
    detector.add(np.ones(BATCH))
    assert detector.falling == BATCH
    detector.add(np.full(BATCH, -2.0))
    assert detector.falling == 0


NEGATIVE = [{"sum": np.array([-1.0])}, {"since": np.array([-1])}, {"falling": np.array([-1])}]


@pytest.mark.parametrize("changes", NEGATIVE)
def test_a_state_that_is_none_is_refused(changes: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="negative"):
        DeclineDetector().load({**DeclineDetector().state(), **changes})
