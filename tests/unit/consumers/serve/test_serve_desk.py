"""What was asked is remembered by the impression of what was shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.serve.engine import Wish
from consumers.serve.impressions import Asked, NotRepeatable
from pipeline.events import Impression, decode, encode, validate


@pytest.mark.parametrize(
    ("wish", "session", "untold"),
    [
        (Wish(1), None, 0),
        (Wish(7, frozenset({"b", "a", 'quo"ted', "ümlaut"}), "tea & coffee", True), "s 1", 3),
        (Wish(1, category=""), "s", 0),
    ],
)
def test_an_impression_remembers_what_was_asked(wish: Wish, session: str | None, untold: int) -> None:
    asked = Asked.of(Asked.to(wish, session, untold).context())
    assert (asked.wish, asked.session, asked.untold) == (wish, session, untold)


def test_more_exclusions_than_an_impression_can_remember_are_said_to_be() -> None:
    context = Asked.to(Wish(5, frozenset(f"item {n}" for n in range(500))), "s1", 0).context()
    assert context == {"asked": "partial", "k": 5, "session": "s1"}
    with pytest.raises(NotRepeatable, match="more items were excluded"):
        Asked.of(context)


@given(
    st.sets(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128), max_size=40)
)
def test_what_an_impression_remembers_is_within_its_bounds(exclude: set[str]) -> None:
    context = Asked.to(Wish(5, frozenset(exclude), "c" * 256, True), "s" * 128, 10**6).context()
    shown = {"impression_id": "i", "user": "u", "snapshot": "1-1", "time": 0, "items": ["a"]}
    fields = {**shown, "propensities": [1.0], "offsets": {}, "context": {"source": "model", **context}}
    assert decode(Impression, encode(validate(Impression, fields))).context["k"] == 5
