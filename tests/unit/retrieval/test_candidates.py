"""Candidates are scored as all items are, and what is certified is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import RetrievalConfig
from pipeline.model.backbone import Backbone
from pipeline.retrieval.candidates import Candidates, Retrieved, Samples
from tests.support.retrieval import RetrievalHarness, retrieval_harness

ITEMS, TARGETS, SHOWN = 400, 30, 5
FEW = RetrievalConfig(exact_items=0, best=8, covisited=4)
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40)


@pytest.fixture(scope="module", params=[0, 1, 2])
def harness(backbone: Backbone, request: pytest.FixtureRequest) -> RetrievalHarness:
    return retrieval_harness(backbone, ITEMS, TARGETS, seed=request.param, look=5 * request.param)


def as_array(of: list[tuple[int, int]]) -> np.ndarray:
    return np.array(of, dtype=np.int64).reshape(-1, 2).T


@given(first=pairs, second=pairs, asked=pairs)
def test_candidates_are_the_distinct_pairs(
    first: list[tuple[int, int]], second: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    candidates = Candidates.of([as_array(first)], 4, 10).joined(as_array(second))
    held = {
        (target, int(row))
        for target, (rows, mask) in enumerate(zip(candidates.rows, candidates.is_candidate, strict=True))
        for row in rows[mask]
    }
    assert held == {*first, *second}
    assert candidates.counts.sum() == len(held)
    for pair, column in zip(asked, candidates.columns_of(as_array(asked)).tolist(), strict=True):
        assert (column >= 0) == (pair in held)
        assert column < 0 or candidates.rows[pair[0], column] == pair[1]


def test_candidates_are_scored_as_all_items_are(harness: RetrievalHarness) -> None:
    """Differences of scores are those of a full ranking; only the sum over all items is unknown."""
    found = harness.retrieve(FEW)
    scores, _ = harness.score(found)
    full = harness.in_full()
    for own, all_of, rows, mask in zip(
        scores, full, found.candidates.rows, found.candidates.is_candidate, strict=True
    ):
        difference = own[torch.from_numpy(mask)] - all_of[rows[mask]]
        torch.testing.assert_close(difference, difference[:1].expand_as(difference), atol=2e-4, rtol=0)


def test_samples_stand_for_what_is_no_candidate(harness: RetrievalHarness) -> None:
    """With all others as samples, each once, a probability is that among all items."""
    every = Samples(np.arange(ITEMS), np.zeros(ITEMS, dtype=np.float32))
    found = harness.retrieve(FEW, every)
    scores, _ = harness.score(found)
    full = harness.in_full()
    mask = found.candidates.is_candidate
    own = scores[:, : mask.shape[1]][torch.from_numpy(mask)]
    expected = full.gather(1, torch.from_numpy(found.candidates.rows))[torch.from_numpy(mask)]
    torch.testing.assert_close(own, expected, atol=2e-4, rtol=0)


def test_few_samples_estimate_the_sum_over_all(harness: RetrievalHarness) -> None:
    """The sum of probabilities is right on average: an estimate of importance sampling has no bias."""
    random, drawn = np.random.default_rng(0), 40
    ratios = []
    for _ in range(60):
        rows = random.integers(ITEMS, size=drawn)
        found = harness.retrieve(FEW, Samples(rows, np.full(drawn, np.log(drawn / ITEMS), dtype=np.float32)))
        scores, _ = harness.score(found)
        first = torch.from_numpy(found.candidates.rows[:, :1])
        ratios.append((harness.in_full().gather(1, first) - scores[:, :1]).exp())
    assert torch.cat(ratios).mean() == pytest.approx(1, abs=0.02)


@settings(max_examples=10)
@given(best=st.integers(1, 80), covisited=st.integers(1, 30))
def test_what_is_certified_is_exact(harness: RetrievalHarness, best: int, covisited: int) -> None:
    found = harness.retrieve(RetrievalConfig(exact_items=0, best=best, covisited=covisited))
    shown, certified = shown_of(harness, found)
    expected = harness.in_full().topk(SHOWN, dim=1).indices
    for rows, exact_rows, is_certain in zip(shown, expected, certified, strict=True):
        assert not is_certain or rows.tolist() == exact_rows.tolist()


def test_enough_candidates_certify(harness: RetrievalHarness) -> None:
    _, certified = shown_of(harness, harness.retrieve(RetrievalConfig(exact_items=0, best=80, covisited=60)))
    _, seldom = shown_of(harness, harness.retrieve(RetrievalConfig(exact_items=0, best=SHOWN, covisited=1)))
    assert certified.float().mean() > 0.9
    assert seldom.float().mean() < 0.5


def test_nothing_is_certified_where_not_all_is_scanned(harness: RetrievalHarness) -> None:
    _, certified = shown_of(
        harness, harness.retrieve(RetrievalConfig(exact_items=0, scanned=ITEMS // 2, best=80, covisited=60))
    )
    assert not certified.any()


def shown_of(harness: RetrievalHarness, found: Retrieved) -> tuple[torch.Tensor, torch.Tensor]:
    """The best rows ``[m, k]``, and whether nothing else can be among them."""
    scores, bound = harness.score(found)
    mask = torch.from_numpy(found.candidates.is_candidate)
    best = scores[:, : mask.shape[1]].masked_fill(~mask, -torch.inf).topk(SHOWN, dim=1)
    rows = torch.from_numpy(found.candidates.rows).gather(1, best.indices)
    return rows, best.values[:, -1] > bound
