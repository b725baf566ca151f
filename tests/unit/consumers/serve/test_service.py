"""An impression stores the query of its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.serve.impressions import NotRepeatable, StoredQuery
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
def test_an_impression_stores_its_query(
    query: RecommendationQuery, session: str | None, pending_texts: int
) -> None:
    stored = StoredQuery.from_context(StoredQuery.from_query(query, session, pending_texts).context())
    assert (stored.query, stored.session, stored.pending_texts) == (query, session, pending_texts)


def test_too_many_exclusions_make_a_stored_query_partial() -> None:
    context = StoredQuery.from_query(
        RecommendationQuery(5, frozenset(f"item {n}" for n in range(500))), "s1", 0
    ).context()
    assert context == {"asked": "partial", "k": 5, "session": "s1"}
    with pytest.raises(NotRepeatable, match="excluded more items"):
        StoredQuery.from_context(context)


@given(
    st.sets(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128), max_size=40)
)
def test_a_stored_query_is_within_the_bounds_of_an_impression(exclude: set[str]) -> None:
    context = StoredQuery.from_query(
        RecommendationQuery(5, frozenset(exclude), "c" * 256, True), "s" * 128, 10**6
    ).context()
    shown = {"impression_id": "i", "user": "u", "snapshot": "1-1", "time": 0, "items": ["a"]}
    fields = {**shown, "propensities": [1.0], "offsets": {}, "context": {"source": "model", **context}}
    assert decode(Impression, encode(validate(Impression, fields))).context["k"] == 5
