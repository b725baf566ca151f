"""The retriever keeps its searches up to date with table and counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.config import RetrievalConfig
from pipeline.model.backbone import Backbone
from pipeline.retrieval.retriever import CHOSEN_EVERY, Retriever
from tests.support.retrieval import RetrievalHarness, retrieval_harness

ITEMS, TARGETS, SCANNED = 400, 8, 64
CONFIG = RetrievalConfig(exact_items=100, scanned=SCANNED, best=8, nearest=8, covisited=1)


@pytest.fixture(params=[0, 5], ids=["texts", "and vectors"])
def harness(request: pytest.FixtureRequest, backbone: Backbone) -> RetrievalHarness:
    return retrieval_harness(backbone, ITEMS, TARGETS, look=request.param)


def found(harness: RetrievalHarness, retriever: Retriever) -> list[set[int]]:
    """The candidates of each target."""
    (block,) = retriever.retrieve(harness.contexts, harness.recommender, harness.weights, harness.table.all())
    candidates = block.candidates
    pairs = zip(candidates.rows, candidates.is_candidate, strict=True)
    return [set(rows[mask].tolist()) for rows, mask in pairs]


def make_best_for_all(harness: RetrievalHarness, row: int) -> None:
    """Give a row the content that the first target looks for most."""
    query = harness.recommender.of_content(harness.recommender.of_residual(harness.contexts.users))
    harness.table.set_content(torch.tensor([row]), 9 * torch.nn.functional.normalize(query[:1], dim=1))


def test_few_items_need_no_retrieval() -> None:
    assert not Retriever(CONFIG).is_needed(100)
    assert Retriever(CONFIG).is_needed(101)


@pytest.mark.parametrize("step_chosen", [2, 16, CHOSEN_EVERY, 3 * CHOSEN_EVERY])
def test_the_most_popular_are_scanned(harness: RetrievalHarness, step_chosen: int) -> None:
    retriever = Retriever(CONFIG)
    retriever.update(1, harness.table, harness.popularity)
    assert np.array_equal(retriever.choice.rows, harness.popularity.top(SCANNED))
    harness.popularity.fold(np.array([ITEMS - 1]), np.array([1e3]))
    for step in (3, CHOSEN_EVERY - 1, CHOSEN_EVERY + 1):
        retriever.update(step, harness.table, harness.popularity)
        assert ITEMS - 1 not in retriever.choice.rows
    retriever.update(step_chosen, harness.table, harness.popularity)
    assert ITEMS - 1 in retriever.choice.rows
    assert set(retriever.choice.rows.tolist()) == set(harness.popularity.top(SCANNED).tolist())


def test_what_is_not_scanned_is_found_by_its_content(harness: RetrievalHarness) -> None:
    retriever, row = Retriever(CONFIG), ITEMS - 1
    retriever.update(1, harness.table, harness.popularity)
    assert row not in retriever.choice.rows
    assert row not in found(harness, retriever)[0]
    make_best_for_all(harness, row)
    retriever.encoded(np.array([row]))
    retriever.update(2, harness.table, harness.popularity)
    assert row in found(harness, retriever)[0]


def test_new_items_are_scanned_while_all_are(harness: RetrievalHarness) -> None:
    retriever = Retriever(CONFIG.replace(scanned=1_024))
    retriever.update(1, harness.table, harness.popularity)
    harness.table.grow(ITEMS + 50)
    harness.popularity.grow(ITEMS + 50)
    retriever.encoded(np.array([ITEMS + 49]))
    retriever.update(2, harness.table, harness.popularity)
    assert np.array_equal(np.sort(retriever.choice.rows), np.arange(ITEMS + 50))


def test_new_items_beyond_the_scan_cost_it_nothing(harness: RetrievalHarness) -> None:
    retriever = Retriever(CONFIG)
    retriever.update(1, harness.table, harness.popularity)
    harness.table.grow(4 * ITEMS)
    harness.popularity.grow(4 * ITEMS)
    retriever.changed(np.array([0, 4 * ITEMS - 1]))
    retriever.update(2, harness.table, harness.popularity)
    assert retriever.choice.rows.size == SCANNED


def test_a_catalogue_of_ids_grows_beyond_the_scan(backbone: Backbone) -> None:
    harness, retriever = retrieval_harness(backbone, ITEMS, TARGETS, texts=False), Retriever(CONFIG)
    retriever.update(1, harness.table, harness.popularity)
    assert retriever.choice.centroids is None
    assert all(found(harness, retriever))


def test_what_is_chosen_otherwise_is_taken_once(backbone: Backbone) -> None:
    """First ids alone are scanned, twice as many; then texts come."""
    harness, retriever = retrieval_harness(backbone, ITEMS, TARGETS, texts=False), Retriever(CONFIG)
    assert not retriever.take_changed().slots.size
    retriever.update(1, harness.table, harness.popularity)
    twice = np.arange(2 * SCANNED).tolist()
    make_best_for_all(harness, ITEMS - 1)
    for step in (2, 3):
        retriever.update(step, harness.table, harness.popularity)
    assert retriever.choice.rows.size == SCANNED
    changed = retriever.take_changed()
    assert changed.slots.tolist() == twice
    assert changed.centroids
    popular, before = np.arange(ITEMS - 9, ITEMS), retriever.choice.rows
    harness.popularity.fold(popular, np.full(9, 1e3))
    retriever.update(CHOSEN_EVERY, harness.table, harness.popularity)
    changed = retriever.take_changed()
    assert set(retriever.choice.rows[changed.slots].tolist()) == set(popular.tolist()) - set(before.tolist())
    assert not changed.centroids
    assert not retriever.take_changed().slots.size


def test_a_loaded_retriever_finds_the_same(harness: RetrievalHarness) -> None:
    one, other = Retriever(CONFIG), Retriever(CONFIG)
    one.update(1, harness.table, harness.popularity)
    other.load(one.choice.rows, harness.table, one.choice.centroids, one.lists)
    other.update(2, harness.table, harness.popularity)
    assert found(harness, other) == found(harness, one)


@pytest.mark.parametrize("change", [{"scanned": SCANNED // 2}, {"exact_items": ITEMS}])
def test_what_no_longer_fits_the_settings_is_not_loaded(
    harness: RetrievalHarness, change: dict[str, int]
) -> None:
    one, other = Retriever(CONFIG), Retriever(CONFIG.replace(**change))
    one.update(1, harness.table, harness.popularity)
    other.load(one.choice.rows, harness.table, one.choice.centroids, one.lists)
    assert not other.choice.rows.size
    other.changed(np.array([1]))
    assert not other._learned, "it would never be taken"
    if other.is_needed(ITEMS):
        other.update(2, harness.table, harness.popularity)
        assert other.choice.rows.size == SCANNED // 2
