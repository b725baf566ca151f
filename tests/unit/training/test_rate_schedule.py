"""A rate rises in the warm-up, then stays, or falls to its least share and stays there."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import OptimizerConfig
from pipeline.training.rate_schedule import share_of_rate


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.8, 0.6, 0.2]),
        ("cosine", [1, 0.8828, 0.6, 0.2]),
    ],
)
def test_a_rate_falls_as_the_schedule_says(schedule: Any, shares: list[float]) -> None:
    config = OptimizerConfig(schedule=schedule, decay_steps=8, least=0.2)
    found = [share_of_rate(config, steps) for steps in (0, 2, 4, 8)]
    assert found == pytest.approx(shares, abs=1e-4)
    assert share_of_rate(config, 10**9) == found[-1]


def test_a_warm_up_comes_before_the_fall() -> None:
    config = OptimizerConfig(schedule="linear", warm_up_steps=3, decay_steps=2, least=0)
    found = [share_of_rate(config, steps) for steps in range(7)]
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, 0.5, 0, 0])


def test_by_default_the_rate_is_what_it_is() -> None:
    assert {share_of_rate(OptimizerConfig(), steps) for steps in (0, 1, 10**6)} == {1.0}
