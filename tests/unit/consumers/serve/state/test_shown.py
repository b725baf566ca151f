"""What was shown is remembered once per item, with its latest time, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.serve.state.shown import MOST_OF_USER, ShownItems
from pipeline.state.acted_items import item_digest

impressions = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4),
        st.integers(0, 9),
    ),
    max_size=20,
)


@given(impressions, st.integers(0, 10), st.randoms(use_true_random=False))
def test_items_count_by_their_latest_time_in_any_order_and_twice(
    added: list[tuple[str, list[str], int]], since: int, random: object
) -> None:
    recent = ShownItems()
    named = [(str(number), *one) for number, one in enumerate(added)]
    again = [*named, *named]
    random.shuffle(again)  # type: ignore[attr-defined]
    for impression, user, items, time in again:
        recent.add(impression, user, items, time)
    for user in ("ann", "bob", "cyd"):
        expected = {
            item_digest(i) for who, items, time in added if who == user and time >= since for i in items
        }
        found = recent.since(user, since).digests.tolist()
        assert len(found) == len(set(found))
        assert set(found) == expected
    for impression, user, items, time in named:
        target = recent.first(impression)
        assert target is not None
        assert target[:3] == (user, items[0], time)
        assert [target.has(item) for item in "abcdefg"] == [item in items for item in "abcdefg"]


def test_of_a_user_the_last_are_kept() -> None:
    recent = ShownItems()
    for number in range(MOST_OF_USER + 5):
        recent.add("i", "ann", [f"item-{number}"], number)
    found = set(recent.since("ann", 0).digests.tolist())
    assert found == {item_digest(f"item-{number}") for number in range(5, MOST_OF_USER + 5)}


def test_the_user_who_was_shown_nothing_for_longest_is_forgotten() -> None:
    recent = ShownItems(most_items=4, most_impressions=2)
    recent.add("1", "ann", ["a", "b"], 1)
    recent.add("2", "bob", ["a", "b"], 2)
    recent.add("3", "ann", ["a"], 3)
    recent.add("4", "cyd", ["c"], 4)
    assert [recent.since(user, 0).digests.size for user in ("ann", "bob", "cyd")] == [2, 0, 1]
    assert [recent.first(name) is None for name in "1234"] == [True, True, False, False]


def test_an_unknown_user_was_shown_nothing() -> None:
    assert ShownItems().since("ann", 0).digests.size == 0
