"""Rises are found, falls and chance are not, and a restored detector equals the original."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.config import RiseConfig
from pipeline.monitoring.drift.detectors import Rise, RiseDetector

CONFIG = RiseConfig(block=32, longest=64)
BATCH = 100


def noise(blocks: int, mean: float, seed: int, basket: int = 1) -> NDArray[np.float64]:
    """Log-losses as the learner has them; those of one basket share most of their deviation."""
    random = np.random.default_rng(seed)
    count = blocks * CONFIG.block
    shared = np.repeat(random.normal(0, 1.5, -(-count // basket)), basket)[:count]
    return mean + shared + random.normal(0, 1, count)


def rises(detector: RiseDetector, values: NDArray[np.float64]) -> list[tuple[int, Rise]]:
    """Feed values in batches; return the rises found, each with the start of its batch."""
    found = (
        (start, detector.update(values[start : start + BATCH])) for start in range(0, values.size, BATCH)
    )
    return [(start, rise) for start, rise in found if rise is not None]


def test_a_rise_is_found_within_thirty_blocks() -> None:
    calm, worse = noise(100, 5.0, seed=0), noise(30, 6.0, seed=1)
    detector = RiseDetector(CONFIG)
    assert rises(detector, calm) == []
    (_, rise), *_ = rises(detector, worse)
    assert rise.before == pytest.approx(5.0, abs=0.2)
    assert rise.after == pytest.approx(6.0, abs=0.4)


def test_a_rise_is_reported_once_and_the_new_level_becomes_the_reference() -> None:
    detector = RiseDetector(CONFIG)
    assert len(rises(detector, np.concatenate([noise(60, 5.0, 0), noise(200, 7.0, 1)]))) == 1
    assert len(rises(detector, noise(60, 9.0, 2))) == 1


def test_a_fall_is_not_reported() -> None:
    learning = np.concatenate([noise(20, 8 - level / 2, seed=level) for level in range(10)])
    assert rises(RiseDetector(CONFIG), learning) == []


def test_the_losses_of_a_younger_learner_do_not_hide_a_rise() -> None:
    values = np.concatenate([noise(60, 8.0, 0), noise(60, 5.0, 1), noise(40, 6.5, 2)])
    assert len(rises(RiseDetector(CONFIG), values)) == 1


@pytest.mark.parametrize("basket", [1, 6])
def test_chance_is_not_reported_even_in_baskets(basket: int) -> None:
    assert rises(RiseDetector(CONFIG), noise(3_000, 5.0, seed=3, basket=basket)) == []


def test_its_state_is_bounded() -> None:
    detector = RiseDetector(CONFIG)
    rises(detector, noise(1_000, 5.0, seed=0))
    assert CONFIG.longest <= len(detector.state()["means"]) < 2 * CONFIG.longest


def test_no_values_give_no_rise() -> None:
    detector = RiseDetector(CONFIG)
    assert detector.update(np.zeros(0)) is None
    assert detector.state() == {"rest": [], "means": []}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), saved=st.integers(0, 6_000), level=st.floats(3, 7))
def test_a_restored_detector_continues_like_the_original(seed: int, saved: int, level: float) -> None:
    values = np.concatenate([noise(80, 5.0, seed), noise(60, level, seed + 1), noise(50, 6.0, seed + 2)])
    unbroken, broken = RiseDetector(CONFIG), RiseDetector(CONFIG)
    unbroken.update(values[:saved])
    broken.update(values[:saved])
    restored = RiseDetector(CONFIG)
    restored.load(orjson.loads(orjson.dumps(broken.state())))
    assert rises(restored, values[saved:]) == rises(unbroken, values[saved:])
    assert restored.state() == unbroken.state()
