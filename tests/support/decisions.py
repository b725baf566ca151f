"""Decisions made up for tests of learners of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.value.port import Arrays, Decision, Floats, Vectors


def decision(
    items: Vectors | Floats,
    rewards: Floats,
    *,
    state: Vectors | Floats | None = None,
    user: int = 1,
    shown_at: int = 0,
    others: Vectors | Floats | None = None,
) -> Decision:
    """A decision about items ``[k, p]``, by default of a state with one fact."""
    return Decision(
        user=user,
        shown_at=shown_at,
        state=np.asarray([0.0] if state is None else state, dtype=np.float32),
        items=np.asarray(items, dtype=np.float32),
        scores=np.full(len(items), 1 / max(len(items), 1)),
        rewards=np.asarray(rewards, dtype=np.float64),
        others=None if others is None else np.asarray(others, dtype=np.float32),
    )


def random_decisions(
    count: int,
    random: np.random.Generator,
    *,
    state: int = 3,
    features: int = 4,
    slate: int = 5,
    users: int = 20,
) -> list[Decision]:
    """Decisions a minute apart, whose rewards are mostly 0."""
    return [
        decision(
            random.normal(size=(slate, features)),
            2.0 * random.random(slate) * (random.random(slate) < 0.3),
            state=random.normal(size=state),
            user=int(random.integers(users)),
            shown_at=60_000 * number,
            others=random.normal(size=(2, features)),
        )
        for number in range(count)
    ]


def equal(one: Arrays, other: Arrays) -> bool:
    """Whether arrays are the same to the bit."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes() for name in one
    )


def changed(arrays: Arrays, **changes: NDArray[Any] | None) -> Mapping[str, NDArray[Any]]:
    """Arrays with other values, or without those for which there is None."""
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}
