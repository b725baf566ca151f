"""Contributions: what each act adds to shared counts, whatever the batches, and what returns take back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import SignalsConfig
from pipeline.events import InteractionType
from pipeline.state.contributions import Contribution, contribution, contributions
from pipeline.state.covisitation import LAG_WEIGHTS
from pipeline.state.histories import Act, History, inserted
from pipeline.state.signals import Signals
from tests.support.build import MINUTE

T = InteractionType
LENGTH = 40
DEFAULT = Signals(SignalsConfig(), LENGTH)
Sums = tuple[dict[str, float], dict[tuple[str, str], float]]


def bought(*items: str, after: int = 0) -> list[Act]:
    """Purchases a minute apart."""
    return [Act(item, T.PURCHASE, MINUTE * (after + at)) for at, item in enumerate(items)]


def one_by_one(acts: Sequence[Act], signals: Signals = DEFAULT) -> tuple[list[Contribution], History]:
    """Contributions of acts in the order of their arrival, and the history afterwards."""
    history: History = ()
    found = []
    for act in acts:
        found.append(contribution(history, act, signals))
        history, _ = signals.remembered(inserted(history, act))
    return found, history


def summed(found: Sequence[Contribution]) -> Sums:
    """Popularity by item and covisitation by pair; zeros left out."""
    items: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for one in found:
        items[one.item] += one.weight  # type: ignore[assignment]
        for partner, weight in one.pairs:
            pairs[min(one.item, partner), max(one.item, partner)] += weight  # type: ignore[assignment]
    return {i: w for i, w in items.items() if w}, {p: w for p, w in pairs.items() if w}


kinds = st.sampled_from([T.PURCHASE, T.PURCHASE, T.VIEW, T.LIKE, T.DISLIKE, T.SKIP, T.RETURN])
any_acts = st.lists(st.builds(Act, st.sampled_from("abcd"), kinds, st.integers(0, 30 * MINUTE)), max_size=25)


def test_an_act_is_paired_with_those_before_it() -> None:
    found, _ = one_by_one(bought("a", "b", "c"))
    near, far = LAG_WEIGHTS[:2]
    assert [one.pairs for one in found] == [[], [("a", near)], [("b", near), ("a", far)]]
    assert [one.weight for one in found] == [1, 1, 1]


def test_a_pair_counts_as_its_weaker_act() -> None:
    signals = Signals(SignalsConfig(view=0.25), LENGTH)
    found, _ = one_by_one([Act("a", T.VIEW, 0), *bought("b", after=1)], signals)
    assert found[1].pairs == [("a", 5)]


def test_items_that_take_turns_are_one_pair() -> None:
    found, _ = one_by_one(bought("a", "b", "a", "b", "b"))
    assert summed(found)[1] == {("a", "b"): LAG_WEIGHTS[0]}


def test_a_pair_gains_what_a_stronger_act_adds() -> None:
    """As if the strongest act on each item were the only one, whatever came first."""
    signals = Signals(SignalsConfig(view=0.25, click=0.5), LENGTH)
    viewed = [Act(item, T.VIEW, MINUTE * at) for at, item in enumerate("ab")]
    clicked = Act("b", T.CLICK, 2 * MINUTE)
    found, _ = one_by_one([*viewed, clicked, *bought("a", after=3)], signals)
    assert [one.pairs for one in found] == [[], [("a", 5)], [], [("b", 5)]]


def test_the_return_of_a_second_purchase_leaves_the_pairs_of_the_first() -> None:
    found, _ = one_by_one([*bought("a", "b", "b", "c"), Act("b", T.RETURN, 9 * MINUTE)])
    near, _, far = LAG_WEIGHTS[:3]
    assert summed(found)[1] == {("a", "b"): near, ("b", "c"): near, ("a", "c"): far}


@pytest.mark.parametrize("kind", [T.DISLIKE, T.SKIP, T.RETURN])
def test_a_negative_act_adds_nothing_and_is_no_partner(kind: T) -> None:
    rejected = Act("x", kind, 2 * MINUTE)
    with_it, _ = one_by_one([*bought("a", "b"), rejected, *bought("c", after=3)])
    without_it, _ = one_by_one([*bought("a", "b"), *bought("c", after=3)])
    assert summed(with_it) == summed(without_it)


@given(any_acts, st.integers(0, 25))
def test_late_and_early_readers_count_the_same(acts: list[Act], cut: int) -> None:
    expected, history = one_by_one(acts)
    assert list(contributions(acts[cut:], history, DEFAULT)) == expected[cut:]


@given(st.lists(st.builds(Act, st.sampled_from("abcd"), kinds, st.integers(0, 9 * MINUTE)), max_size=80))
def test_they_do_when_the_oldest_acts_have_left_the_history(acts: list[Act]) -> None:
    """As long as no more acts are unlearned than a history has beyond what decides on a contribution."""
    signals = Signals(SignalsConfig(item_cap=3, user_cap=8), history_length=12)
    unlearned = signals.length - signals.lookback
    expected, history = one_by_one(acts, signals)
    assert list(contributions(acts[-unlearned:], history, signals)) == expected[-unlearned:]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12), st.data())
def test_a_return_takes_back_all_that_the_purchase_gave(items: list[str], data: st.DataObject) -> None:
    """After the purchase and the acts behind it, its return leaves no count and no pair of its item."""
    at = data.draw(st.integers(0, len(items)))
    acts = bought(*items[:at], "x", *items[at:])
    found, history = one_by_one(acts)
    returned = contribution(history, Act("x", T.RETURN, MINUTE * 60), DEFAULT)
    sums, pairs = summed([*found, returned])
    assert "x" not in sums and not [pair for pair in pairs if "x" in pair]


def test_an_item_that_was_returned_is_no_partner_of_later_acts() -> None:
    history = (*bought("a", "x"), Act("x", T.RETURN, 2 * MINUTE))
    assert contribution(history, bought("b", after=3)[0], DEFAULT).pairs == [("a", 20)]


def test_a_late_act_is_paired_with_what_was_before_it() -> None:
    history = tuple(bought("a", "b", "c"))
    late = contribution(history, Act("x", T.VIEW, MINUTE + 1), DEFAULT)
    assert late.pairs == [("b", 20), ("a", 14)]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_crawler_adds_no_more_than_the_cap_in_whatever_order_its_acts_arrive(reverse: bool) -> None:
    views = [Act("x", T.VIEW, MINUTE * at) for at in range(5_000)]
    found, _ = one_by_one(views[::-1] if reverse else views)
    items, pairs = summed(found)
    assert items["x"] == DEFAULT.config.item_cap
    assert sum(pairs.values()) <= DEFAULT.config.item_cap * LAG_WEIGHTS.sum()


def test_a_flood_of_old_returns_takes_back_no_more_than_was_given() -> None:
    signals = Signals(SignalsConfig(), history_length=12)
    given = [Act("x", T.PURCHASE, 0), *(Act("y", T.SKIP, MINUTE * (9 + at)) for at in range(12))]
    found, _ = one_by_one([*given, *(Act("x", T.RETURN, MINUTE - at) for at in range(50))], signals)
    assert sum(one.weight for one in found) >= 0


def test_a_crawler_of_the_whole_catalogue_is_capped_by_the_window() -> None:
    signals = Signals(SignalsConfig(user_cap=20), LENGTH)
    found, _ = one_by_one([Act(f"i{at}", T.VIEW, 1000 * at) for at in range(500)], signals)
    assert sum(one.weight for one in found) == 20


def test_what_a_capped_act_is_near_to_gains_nothing_from_it() -> None:
    views = [Act("x", T.VIEW, MINUTE * at) for at in range(20)]
    _, history = one_by_one(views)
    assert contribution(history, bought("y", after=30)[0], DEFAULT).pairs == []
