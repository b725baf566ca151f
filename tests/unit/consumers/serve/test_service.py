"""What was asked is remembered by the impression of what was shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.serve.impressions import Asked, NotRepeatable
from consumers.serve.ranking import RecommendationQuery
from pipeline.events import Impression, decode, encode, validate


@pytest.mark.parametrize(
    ("query", "session", "pending_texts"),
    [
        (RecommendationQuery(1), None, 0),
        (RecommendationQuery(7, frozenset({"b", "a", 'quo"ted', "ümlaut"}), "tea & coffee", True), "s 1", 3),
        (RecommendationQuery(1, category=""), "s", 0),
    ],
)
def test_an_impression_remembers_what_was_asked(
    query: RecommendationQuery, session: str | None, pending_texts: int
) -> None:
    asked = Asked.of(Asked.to(query, session, pending_texts).context())
    assert (asked.query, asked.session, asked.pending_texts) == (query, session, pending_texts)


def test_more_exclusions_than_an_impression_can_remember_are_said_to_be() -> None:
    context = Asked.to(RecommendationQuery(5, frozenset(f"item {n}" for n in range(500))), "s1", 0).context()
    assert context == {"asked": "partial", "k": 5, "session": "s1"}
    with pytest.raises(NotRepeatable, match="more items were excluded"):
        Asked.of(context)


@given(
    st.sets(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128), max_size=40)
)
def test_what_an_impression_remembers_is_within_its_bounds(exclude: set[str]) -> None:
    context = Asked.to(
        RecommendationQuery(5, frozenset(exclude), "c" * 256, True), "s" * 128, 10**6
    ).context()
    shown = {"impression_id": "i", "user": "u", "snapshot": "1-1", "time": 0, "items": ["a"]}
    fields = {**shown, "propensities": [1.0], "offsets": {}, "context": {"source": "model", **context}}
    assert decode(Impression, encode(validate(Impression, fields))).context["k"] == 5
