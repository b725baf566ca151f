"""Whose lists are kept: the same users every time, one list of each in a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.state.segments import NO_ACTS, Segment
from pipeline.training.sampled_lists import ONE_IN, choose

USERS = 4_000


def segment(user: int, targets: int) -> Segment:
    n = targets + 1
    columns: dict[str, Any] = {
        name: np.zeros(n, dtype=np.int64) for name in ("items", "types", "values", "gaps", "baskets")
    }
    wanted = np.ones(n, dtype=np.bool_)
    return replace(NO_ACTS, **columns, weights=np.ones(n), wanted=wanted, user=user)


def test_a_part_of_the_users_is_chosen_whoever_acts_beside_them() -> None:
    chosen = {user: choose([segment(user, 1)])[0] for user in range(-USERS // 2, USERS // 2)}
    assert abs(sum(chosen.values()) - USERS / ONE_IN) < 4 * (USERS / ONE_IN) ** 0.5
    users = [user for user, is_chosen in chosen.items() if is_chosen][:3]
    others = [user for user, is_chosen in chosen.items() if not is_chosen][:2]
    sizes = [(users[0], 3), (others[0], 2), (users[1], 0), (users[2], 1), (others[1], 0)]
    mask = choose([segment(*one) for one in sizes])
    assert mask.tolist() == [True, False, False, False, False, True], "the first target of each"
