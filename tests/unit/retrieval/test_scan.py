"""The scan finds the best rows, whatever changed since it was filled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.model.backbone import Backbone
from pipeline.model.item_table import ItemTable
from pipeline.model.likeness import alike
from pipeline.model.mixer import ALIKE, BIAS_SCALE, TREND
from pipeline.retrieval.rounded_vectors import GROUP, best_of
from pipeline.retrieval.scan import BIAS, MODEL, POPULARITY, Queries, Scan, ScanResult
from tests.support.retrieval import RetrievalHarness, retrieval_harness

ITEMS, TARGETS, BEST = 500, 12, 10


@pytest.fixture(params=[(True, 0), (False, 0), (True, 5)], ids=["texts", "ids", "vectors"])
def harness(backbone: Backbone, request: pytest.FixtureRequest) -> RetrievalHarness:
    texts, look = request.param
    return retrieval_harness(backbone, ITEMS, TARGETS, texts=texts, look=look)


def scan_of(harness: RetrievalHarness, rows: np.ndarray) -> Scan:
    scan = Scan()
    scan.choose(rows, harness.table.all(), harness.table.has_content)
    set_popularity(scan, harness)
    return scan


def set_popularity(scan: Scan, harness: RetrievalHarness) -> None:
    shares, trend = harness.popularity.log_share(scan.rows), harness.popularity.trend(scan.rows)
    scan.set_popularity(torch.from_numpy(shares), torch.from_numpy(trend))


def exact(harness: RetrievalHarness) -> torch.Tensor:
    """What is scanned for, of all items, in float32: ``[m, n]``."""
    table, weights = harness.table.all(), harness.weights[torch.from_numpy(harness.contexts.situation)]
    logits = harness.recommender.score_all(harness.contexts.users, table)
    shares, trend = map(torch.from_numpy, (harness.popularity.log_share(), harness.popularity.trend()))
    model, popularity, bias = weights[:, [MODEL, POPULARITY, BIAS]].T.unsqueeze(2)
    likeness = alike(torch.from_numpy(harness.contexts.latest), table, torch.arange(len(shares)))
    found: torch.Tensor = model * logits + popularity * shares + bias * BIAS_SCALE * table.bias
    return found + weights[:, [ALIKE]] * likeness + weights[:, [TREND]] * trend


def search(harness: RetrievalHarness, scan: Scan) -> ScanResult:
    asked = Queries.of(harness.contexts, harness.weights)
    return scan.search(harness.recommender, asked, harness.table.all(), BEST)


def assert_finds_the_best(harness: RetrievalHarness, scan: Scan) -> None:
    """Nothing scanned that was not found exceeds the bound, and the bound is near."""
    best = search(harness, scan)
    assert best.rows.shape == (TARGETS, BEST)
    scores = exact(harness)
    for rows, bound, own in zip(best.rows, best.bound, scores, strict=True):
        others = np.setdiff1d(scan.rows, rows)
        assert len(set(rows.tolist())) == BEST
        assert own[others].max() <= bound <= own[rows].min() + 1


def test_nothing_better_is_left_out(harness: RetrievalHarness) -> None:
    assert_finds_the_best(harness, scan_of(harness, np.arange(ITEMS)))


def test_only_what_was_chosen_is_scanned(harness: RetrievalHarness) -> None:
    chosen = np.arange(0, ITEMS, 3)
    scan = scan_of(harness, np.arange(ITEMS))
    scan.choose(chosen, harness.table.all(), harness.table.has_content)
    set_popularity(scan, harness)
    assert_finds_the_best(harness, scan)


def test_other_rows_take_the_slots_of_those_that_are_scanned_no_more(harness: RetrievalHarness) -> None:
    scan = scan_of(harness, np.arange(200))
    for first, count in ((100, 200), (300, 120), (50, 400), (50, 90)):
        scan.choose(np.arange(first, first + count), harness.table.all(), harness.table.has_content)
        set_popularity(scan, harness)
        assert_finds_the_best(harness, scan)


def test_changed_and_added_rows_are_scanned_as_they_are_now(harness: RetrievalHarness) -> None:
    scan, table = scan_of(harness, np.arange(ITEMS - 100)), harness.table
    changed = np.arange(0, ITEMS, 2)
    gradients = torch.randn(changed.size, table.all().residual.shape[1])
    table.apply(torch.from_numpy(changed), gradients, torch.randn(changed.size))
    if table.has_content:
        content = torch.randn(changed.size, table.all().content.shape[1])
        table.set_content(torch.from_numpy(changed), torch.nn.functional.normalize(content, dim=1))
    scan.refresh(changed, changed, table.all())
    scan.choose(np.arange(ITEMS), table.all(), table.has_content)
    set_popularity(scan, harness)
    assert_finds_the_best(harness, scan)


@pytest.mark.parametrize("weight", [0.0, 1e-12])
def test_popularity_alone_ranks_where_the_model_has_no_weight(
    harness: RetrievalHarness, weight: float
) -> None:
    harness.weights[:, MODEL], harness.weights[:, POPULARITY] = weight, 5
    assert_finds_the_best(harness, scan_of(harness, np.arange(ITEMS)))


def test_of_few_rows_all_are_found_and_nothing_is_left(harness: RetrievalHarness) -> None:
    scan = scan_of(harness, np.array([7, 3]))
    best = search(harness, scan)
    assert np.sort(best.rows, axis=1).tolist() == [[3, 7]] * TARGETS
    assert best.bound.tolist() == [-np.inf] * TARGETS


def test_texts_may_come_later(backbone: Backbone) -> None:
    harness = retrieval_harness(backbone, ITEMS, TARGETS, texts=False)
    scan_of(harness, np.arange(ITEMS))
    harness.table.set_content(torch.arange(9), torch.ones(9, backbone.width))
    assert harness.table.has_content
    assert_finds_the_best(harness, scan_of(harness, np.arange(ITEMS)))


@pytest.mark.parametrize("count", [1, 5, 40, 200])
def test_the_best_of_groups_are_the_best_of_all(count: int) -> None:
    scores = torch.randn(7, 5 * GROUP, generator=torch.Generator().manual_seed(0))
    values, columns = best_of(scores, count)
    expected = scores.topk(min(count, 5 * GROUP), dim=1)
    assert torch.equal(values.sort(descending=True).values, expected.values)
    assert torch.equal(scores.gather(1, columns), values)


def test_a_table_of_ids_has_no_content(backbone: Backbone) -> None:
    table = ItemTable(backbone.width, torch.device("cpu"), retrieval_harness(backbone, 9, 1).table._rates)
    table.grow(3)
    table.set_content(torch.arange(3), torch.zeros(3, backbone.width))
    assert not table.has_content
