"""Scaling: means and spreads of what came last, whatever batches it came in."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.value.scaling import Scaling
from tests.support.decisions import changed, equal

ROWS = np.random.default_rng(0).normal([3.0, -1.0], [2.0, 0.5], size=(5_000, 2))


def scaled(rows: np.ndarray, kept: float = 1.0, batch: int = 100) -> Scaling:
    scaling = Scaling(2)
    for start in range(0, len(rows), batch):
        scaling.add(rows[start : start + batch], kept)
    return scaling


def test_centre_and_spread_are_mean_and_standard_deviation() -> None:
    centre, spread = scaled(ROWS).centre_and_spread()
    assert centre == pytest.approx(ROWS.mean(axis=0), abs=0.01)
    assert spread == pytest.approx(ROWS.std(axis=0), abs=0.01)


def test_what_is_old_is_forgotten() -> None:
    centre, _ = scaled(np.concatenate((ROWS, 10 + ROWS)), kept=0.8).centre_and_spread()
    assert centre == pytest.approx(10 + ROWS.mean(axis=0), abs=0.3)


def test_before_the_first_row_a_feature_is_left_as_it_is() -> None:
    centre, spread = Scaling(2).centre_and_spread()
    assert centre.tolist() == [0, 0]
    assert spread.tolist() == [1, 1]


def test_a_constant_has_a_spread_above_zero() -> None:
    _, spread = scaled(np.full((100_000, 2), 1e4), batch=1_000).centre_and_spread()
    assert (spread > 0).all()


def test_a_restored_state_is_the_same() -> None:
    restored = Scaling(2)
    restored.load(scaled(ROWS).state())
    assert equal(restored.state(), scaled(ROWS).state())


@pytest.mark.parametrize(
    ("name", "value"),
    [("rows", np.array([-1.0])), ("sums", -np.ones((2, 2))), ("sums", np.zeros((2, 3))), ("rows", None)],
)
def test_a_state_that_is_none_is_refused(name: str, value: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match=name):
        Scaling(2).load(changed(scaled(ROWS).state(), **{name: value}))
