"""Promotions and rollbacks of policies lead to the one in use, and survive the wire."""

from __future__ import annotations

from typing import Literal

import orjson
import pytest

from pipeline.config import PolicyParameters
from pipeline.errors import InvalidEvent
from pipeline.policy.changes import MOST_CHANGES, PolicyChange, PolicyChanges

WARM = PolicyParameters(name="plackett_luce", pool=50)


def change(verb: Literal["promotion", "rollback"], policy: str, time: int = 0) -> PolicyChange:
    return PolicyChange(verb=verb, policy=policy, parameters=WARM, reason="why", changed_at=time)


def in_use(*changes: PolicyChange) -> str | None:
    found = PolicyChanges()
    for one in changes:
        found.add(one)
    return found.in_use.policy if found.in_use else None


def test_the_latest_promotion_that_stands_is_in_use() -> None:
    one, two, back = change("promotion", "one"), change("promotion", "two"), change("rollback", "two")
    assert in_use() is None
    assert in_use(one, two) == "two"
    assert in_use(one, two, back) == "one"
    assert in_use(one, two, back, change("rollback", "one")) is None
    assert in_use(one, two, back, back) == "one", "it was left already"
    assert in_use(one, back) == "one", "the promotion that is left was damaged"
    assert in_use(back, one) == "one", "there was nothing to leave"


def test_an_experiment_has_the_policy_as_its_control_that_was_used_before_what_ended_it() -> None:
    found = PolicyChanges()
    assert found.control_of("spring") is None
    before, ended = change("promotion", "one"), change("promotion", "two")
    found.add(before)
    found.add(ended.model_copy(update={"ends": "spring"}))
    assert found.control_of("spring") == before
    assert found.control_of("summer") == found.in_use
    found.add(change("rollback", "two"))
    assert found.control_of("spring") == found.control_of("summer") == before


def test_a_flood_of_changes_is_bounded() -> None:
    found = PolicyChanges()
    for time in range(2 * MOST_CHANGES):
        found.add(change("promotion", "one", time))
    assert len(found.all) == MOST_CHANGES
    assert found.in_use is not None and found.in_use.changed_at == 2 * MOST_CHANGES - 1


def test_a_change_survives_the_wire() -> None:
    promotion = PolicyChange(
        verb="promotion",
        policy="bolder",
        parameters=WARM,
        ends="one",
        reason="it earns more",
        figures={"gain.low": 0.25},
        changed_at=7,
    )
    assert PolicyChange.decode(promotion.encode()) == promotion
    assert promotion.key != change("rollback", "bolder", 7).key


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"{}",
        change("promotion", "one").encode().replace(b"one", b"two"),
        orjson.dumps({**orjson.loads(change("promotion", "one").encode()), "more": 1}),
    ],
)
def test_what_is_no_change_is_refused(wire: bytes) -> None:
    with pytest.raises(InvalidEvent, match="no change of the policy"):
        PolicyChange.decode(wire)
