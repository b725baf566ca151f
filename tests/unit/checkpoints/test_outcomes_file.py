"""What was shown and has no outcome yet is read as it was written, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from pipeline.checkpoints.outcomes_file import outcome_lines, read_outcomes
from pipeline.config import RewardsConfig
from pipeline.events import Features, Interaction, InteractionType
from pipeline.state.join_state import Leftover
from pipeline.state.outcomes import OutcomeJoin
from tests.support.impressions import impression

START, WINDOW = 1_700_000_000_000, 30 * 60_000


def act(name: str, user: str = "ann", **others: Any) -> Interaction:
    return Interaction(event_id=name, user=user, item="mug", type=InteractionType.CLICK, time=START, **others)


def busy() -> OutcomeJoin:
    """A join with everything in it."""
    join = OutcomeJoin(RewardsConfig())
    join.show(impression("closed", "ben"), START)
    join.show(impression("b", context={"k": 2}), START + WINDOW + 1)
    drawn: dict[str, Any] = {"policy": "greedy", "policy_version": "1", "propensities": (1.0, 0.1), "pool": 0}
    known = Features(layout="1", state="AAAA", items="AAAA")
    join.show(impression("a", arm="x", features=known, **drawn), START)
    join.act(act("e1"), START + WINDOW + 2)
    join.act(act("e2", impression="b"), START + WINDOW + 2)
    join.act(act("e2", impression="b"), START + WINDOW + 2)
    join.act(act("e3", impression="later", session="s"), START + WINDOW + 3)
    return join


def content(join: OutcomeJoin) -> bytes:
    return b"".join(outcome_lines(join.state()))


def read(wire: bytes) -> OutcomeJoin:
    join = OutcomeJoin(RewardsConfig())
    join.load(read_outcomes(wire))
    return join


def test_a_join_that_was_read_goes_on_to_the_bit() -> None:
    unbroken = busy()
    again = read(content(unbroken))
    assert content(again) == content(unbroken)
    for join in (unbroken, again):
        join.show(impression("later"), START + WINDOW + 5)
        join.show(impression("closed", "ben"), START + WINDOW + 5)
        join.act(act("e1"), START + WINDOW + 6)
    assert content(again) == content(unbroken)
    assert again.close(START + 4 * WINDOW) == unbroken.close(START + 4 * WINDOW) != []
    assert again.leftovers == unbroken.leftovers == {Leftover.DUPLICATE: 3 - 1}


def test_a_state_does_not_move_with_its_join() -> None:
    join = busy()
    state, before = join.state(), content(join)
    join.act(act("e4"), START + WINDOW + 7)
    join.act(act("e5", impression="later"), START + WINDOW + 7)
    join.show(impression("c"), START + 2 * WINDOW + 9)
    assert b"".join(outcome_lines(state)) == before != content(join)


Lines = list[list[object]]


def twice(lines: Lines) -> None:
    lines.append(lines[1])


def backwards(lines: Lines) -> None:
    lines[1][1] = START + WINDOW + 2


def after_the_clock(lines: Lines) -> None:
    lines[0][0] = START


def without_a_reward(lines: Lines) -> None:
    lines[1][2] = [0.0]


def huge(lines: Lines) -> None:
    lines[1][2] = [1e300, 0.0]


def unheard_reason(lines: Lines) -> None:
    lines[0][1] = {"bored": 1}


def closed_twice(lines: Lines) -> None:
    lines[0][2] = [7, 7]


def negative(lines: Lines) -> None:
    lines[0][2] = [-1]


def no_line(lines: Lines) -> None:
    lines.append(["closed", 1])


def nothing(lines: Lines) -> None:
    lines.clear()


FORGERIES = (
    twice,
    backwards,
    after_the_clock,
    without_a_reward,
    huge,
    unheard_reason,
    closed_twice,
    negative,
    no_line,
    nothing,
)


@pytest.mark.parametrize("forge", FORGERIES)
def test_what_is_impossible_is_refused(forge: Callable[[Lines], None]) -> None:
    lines = [orjson.loads(line) for line in content(busy()).splitlines()]
    read_outcomes(b"\n".join(map(orjson.dumps, lines)))
    forge(lines)
    with pytest.raises(ValueError, match=r".+"):
        read_outcomes(b"\n".join(map(orjson.dumps, lines)))
