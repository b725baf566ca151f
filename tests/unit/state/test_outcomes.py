"""Acts are put down to the impression that led to them, once, and what is not is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pipeline.config import RewardsConfig, StreamConfig
from pipeline.eventlog.port import Record
from pipeline.events import Interaction, InteractionType, encode
from pipeline.state.join_state import Leftover, ShownImpression
from pipeline.state.outcomes import MOST_ACTS, MOST_OF_USER, PATIENCE_MS, Outcome, OutcomeJoin, outcomes
from pipeline.state.rewards import reward_id, reward_of
from pipeline.state.stream import StreamState
from tests.support.impressions import impression

CONFIG = RewardsConfig()
START, WINDOW = 1_700_000_000_000, 30 * 60_000
CLICK, PURCHASE = InteractionType.CLICK, InteractionType.PURCHASE


def act(
    item: str = "mug", kind: InteractionType = CLICK, *, name: str = "e", user: str = "ann", **others: Any
) -> Interaction:
    return Interaction(event_id=name, user=user, item=item, type=kind, time=START, **others)


def rewards(found: Iterable[ShownImpression | Outcome]) -> dict[str, tuple[float, ...]]:
    return {outcome.impression.impression_id: outcome.rewards for outcome in found}


@pytest.fixture
def join() -> OutcomeJoin:
    return OutcomeJoin(CONFIG)


def test_what_acts_are_worth() -> None:
    assert reward_of(act(kind=PURCHASE), CONFIG) == 10
    assert reward_of(act(kind=InteractionType.RATING, value=5.0), CONFIG) == 2
    assert reward_of(act(kind=InteractionType.RATING), CONFIG) == 0
    assert reward_of(act(kind=InteractionType.RETURN), CONFIG) == -10
    assert all(isinstance(reward_of(act(kind=kind), CONFIG), float) for kind in InteractionType)


def test_a_reward_that_was_sent_is_worth_its_value() -> None:
    sent = act(name=reward_id("a"), value=0.25, impression="a")
    assert reward_of(sent, CONFIG) == 0.25
    assert reward_of(act(name=reward_id("b"), value=0.25, impression="a"), CONFIG) == 1


def test_an_act_belongs_to_the_impression_that_it_names(join: OutcomeJoin) -> None:
    join.show(impression("a"), START)
    join.show(impression("b"), START + 1)
    join.act(act("cup", PURCHASE, impression="a"), START + 2)
    assert rewards(join.close(START + WINDOW + 2)) == {"a": (0, 10), "b": (0, 0)}


def test_an_act_that_names_none_belongs_to_the_latest_that_showed_the_item(join: OutcomeJoin) -> None:
    join.show(impression("a"), START)
    join.show(impression("b"), START + 1)
    join.show(impression("c", items=("pan",)), START + 2)
    join.show(impression("d", user="ben"), START + 3)
    join.act(act(), START + 4)
    join.act(act("unseen", name="other"), START + 4)
    assert rewards(join.close(START + 2 * WINDOW)) == {"a": (0, 0), "b": (1, 0), "c": (0,), "d": (0, 0)}
    assert not join.leftovers


def test_acts_add_up_and_a_repeated_one_counts_once(join: OutcomeJoin) -> None:
    join.show(impression(), START)
    for name in ("e", "f", "e"):
        join.act(act(name=name), START)
    assert rewards(join.close(START + 2 * WINDOW)) == {"a": (2, 0)}
    assert join.leftovers == {Leftover.DUPLICATE: 1}


def test_an_impression_is_closed_when_its_window_has_passed(join: OutcomeJoin) -> None:
    join.show(impression(), START)
    assert join.act(act(), START + WINDOW) == []
    (outcome,) = join.act(act(name="late", impression="a"), START + WINDOW + 1)
    assert (outcome.rewards, outcome.shown_at) == ((1, 0), START)
    assert join.leftovers == {Leftover.LATE: 1}
    assert join.show(impression(), START + WINDOW + 2) == []
    assert join.leftovers[Leftover.DUPLICATE] == 1, "it was closed once, and is not opened again"
    assert join.open == 0


def test_what_does_not_fit_is_counted_and_changes_nothing(join: OutcomeJoin) -> None:
    join.show(impression(), START)
    join.show(impression(), START)
    join.act(act(impression="unheard"), START)
    join.act(act("pan", impression="a"), START)
    join.act(act(user="ben", impression="a"), START)
    assert rewards(join.end(START + 2 * WINDOW)) == {"a": (0, 0)}
    assert join.leftovers == {Leftover.DUPLICATE: 1, Leftover.UNKNOWN: 1, Leftover.NOT_SHOWN: 2}


def test_an_act_may_come_before_the_impression_that_it_names(join: OutcomeJoin) -> None:
    """Impressions are gathered a moment before they are appended; a reward may be quicker."""
    for name, item in (("e", "mug"), ("f", "cup"), ("g", "pan")):
        join.act(act(item, name=name, impression="a"), START)
    join.show(impression(), START + 60)
    assert rewards(join.close(START + 2 * WINDOW)) == {"a": (1, 1)}
    assert join.leftovers == {Leftover.NOT_SHOWN: 1}
    for number in range(MOST_ACTS + 2):
        join.act(act(name=f"h{number}", impression="never"), START + 2 * WINDOW)
    join.close(START + 3 * WINDOW + PATIENCE_MS)
    assert join.leftovers == {Leftover.NOT_SHOWN: 1, Leftover.FLOOD: 2, Leftover.UNKNOWN: MOST_ACTS}


def test_acts_find_their_impressions_after_a_clock_was_ahead() -> None:
    """Append times of the impressions' partition stand still an hour ahead; those of the acts' go on."""
    ahead = START + 2 * WINDOW
    shown = [record("m.impressions", encode(impression(f"i{n}")), "ann", ahead) for n in range(40)]
    acts = [
        record("m.interactions", encode(act(name=f"e{n}", impression=f"i{n}")), "ann", START + n)
        for n in range(40)
    ]
    join = OutcomeJoin(CONFIG)
    found = rewards(outcomes(shown, acts, join, ahead + WINDOW + 1, first_seen()))
    assert found == {f"i{n}": (1, 0) for n in range(40)}
    assert not join.leftovers


def test_at_the_end_of_the_log_acts_on_what_never_came_are_unknown() -> None:
    acts = [
        record("m.interactions", encode(act(name=name, impression="never")), "ann", time)
        for name, time in (("e", START), ("f", START + 1))
    ]
    join = OutcomeJoin(CONFIG)
    assert not list(outcomes([], acts, join, START + WINDOW + 1, first_seen()))
    assert join.leftovers == {Leftover.UNKNOWN: 2}


def test_rewards_of_an_answer_stay_within_their_range(join: OutcomeJoin) -> None:
    join.show(impression(), START)
    for number, value in enumerate((1e308, 1e308, -3.0)):
        join.act(act(name=f"reward-a-{number}", kind=PURCHASE), START)
        join.act(act("cup", name="reward-a", value=value, impression="a"), START)
    ((mug, cup),) = rewards(join.close(START + 2 * WINDOW)).values()
    assert mug + cup == 20


def test_a_flood_from_one_user_is_bounded(join: OutcomeJoin) -> None:
    closed = [one for number in range(MOST_OF_USER + 3) for one in join.show(impression(f"i{number}"), START)]
    assert [one.impression.impression_id for one in closed] == ["i0", "i1", "i2"]
    for number in range(MOST_ACTS + 5):
        join.act(act(name=f"e{number}"), START)
    found = rewards(join.close(START + 2 * WINDOW))
    assert found[f"i{MOST_OF_USER + 2}"] == (CONFIG.most, 0)
    assert join.leftovers == {Leftover.FLOOD: 3 + 5}


def test_no_more_impressions_are_open_than_the_settings_say() -> None:
    join = OutcomeJoin(CONFIG.replace(open_impressions=2))
    closed = [one for number in range(3) for one in join.show(impression(f"i{number}", f"u{number}"), START)]
    assert [one.impression.impression_id for one in closed] == ["i0"]
    assert (join.open, join.leftovers) == (2, {Leftover.CROWDED_OUT: 1})


def first_seen(window: int = 100) -> Callable[[int, Interaction], bool]:
    return StreamState(StreamConfig(dedupe_window=window)).first_seen


def record(topic: str, value: bytes, key: str, time: int) -> Record:
    return Record(topic, 0, 0, time, key, value)


def test_records_are_joined_in_the_order_of_the_log() -> None:
    shown = [
        record("m.impressions", encode(impression(f"i{n}", f"u{n}")), f"u{n}", START + n) for n in range(3)
    ]
    acts = [
        record("m.interactions", encode(act(user=f"u{n}", name=f"e{n}")), f"u{n}", START + n) for n in (0, 2)
    ]
    acts.insert(1, record("m.interactions", b"{", "u1", START + 1))
    join = OutcomeJoin(CONFIG)
    found = list(outcomes(shown, acts, join, START + 1 + WINDOW + 1, first_seen()))
    assert rewards(found) == {"i0": (1, 0), "i1": (0, 0)}
    assert (join.open, join.leftovers) == (1, {Leftover.INVALID: 1})


def test_what_its_policy_could_not_have_drawn_is_invalid() -> None:
    said: dict[str, Any] = {
        "policy": "epsilon_greedy",
        "policy_version": "1 explored_places=1 pool=2 epsilon=0.1",
        "pool": 2,
    }
    shown = [
        impression(f"i{number}", propensities=(propensity, 1.0), **said)
        for number, propensity in enumerate((0.05, 1e-9, 0.95, 1e-300))
    ]
    join = OutcomeJoin(CONFIG)
    records = [record("m.impressions", encode(one), "ann", START) for one in shown]
    assert set(rewards(outcomes(records, [], join, START + 2 * WINDOW, first_seen()))) == {"i0", "i2"}
    assert join.leftovers == {Leftover.INVALID: 2}


@pytest.mark.parametrize(
    ("first", "again", "left"),
    [
        (act(), act(), Leftover.DUPLICATE),
        (act(impression="i0"), act(impression="i1"), Leftover.INVALID),
    ],
)
def test_an_act_that_is_sent_again_counts_once_whatever_was_shown_since(
    first: Interaction, again: Interaction, left: Leftover
) -> None:
    shown = [record("m.impressions", encode(impression(f"i{n}")), "ann", START + 10 * n) for n in range(2)]
    acts = [
        record("m.interactions", encode(one), "ann", START + 5 + 10 * n)
        for n, one in enumerate((first, again))
    ]
    join = OutcomeJoin(CONFIG)
    found = rewards(outcomes(shown, acts, join, START + 2 * WINDOW, first_seen()))
    assert found == {"i0": (1, 0), "i1": (0, 0)}
    assert join.leftovers == {left: 1}
    others = [record("m.interactions", encode(act("pan", name=f"f{n}")), "ann", START + 6) for n in range(2)]
    join = OutcomeJoin(CONFIG)
    late = [acts[0], *others, acts[1]]
    found = rewards(outcomes(shown, late, join, START + 2 * WINDOW, first_seen(2)))
    assert found == {"i0": (1, 0), "i1": (1, 0)}, "two others of its partition have filled the window"
