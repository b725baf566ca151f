"""The inverted file finds what is near, is hidden, replaced and loaded."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.retrieval.content_index import NOTHING, ContentIndex, choose_centroids

ITEMS, WIDTH, TOPICS = 3_000, 32, 40


def vectors(count: int, seed: int) -> np.ndarray:
    """Unit vectors around some topics, as texts are."""
    random = np.random.default_rng(seed)
    topics = np.random.default_rng(0).standard_normal((TOPICS, WIDTH))
    found = topics[random.integers(TOPICS, size=count)] + 0.3 * random.standard_normal((count, WIDTH))
    unit: np.ndarray = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture
def content() -> np.ndarray:
    return vectors(ITEMS, seed=1)


@pytest.fixture
def nearest(content: np.ndarray) -> ContentIndex:
    found = ContentIndex(choose_centroids(content))
    found.put(np.arange(ITEMS), content)
    return found


def recall(nearest: ContentIndex, content: np.ndarray, allowed: np.ndarray, count: int = 10) -> float:
    """Share of the truly nearest among those allowed that are found; nothing else is."""
    queries = vectors(50, seed=2)
    products = np.where(allowed, queries @ content.T, -np.inf)
    best = np.argsort(-products, axis=1)[:, :count]
    found = nearest.search(queries, count)
    assert allowed[found[found != NOTHING]].all()
    return float(np.mean([np.isin(*pair).mean() for pair in zip(best, found, strict=True)]))


def test_most_of_the_nearest_are_found(nearest: ContentIndex, content: np.ndarray) -> None:
    assert len(nearest) == ITEMS
    assert recall(nearest, content, np.ones(ITEMS, dtype=np.bool_)) > 0.9


def test_hidden_rows_are_not_found_and_leave_their_places_to_others(
    nearest: ContentIndex, content: np.ndarray
) -> None:
    nearest.hide(np.arange(0, ITEMS, 2))
    assert recall(nearest, content, np.arange(ITEMS) % 2 == 1) > 0.9
    nearest.hide(np.arange(1, ITEMS, 2))
    assert recall(nearest, content, np.arange(ITEMS) % 2 == 0) > 0.9


def test_replaced_content_is_found_where_it_is_now(nearest: ContentIndex, content: np.ndarray) -> None:
    changed = np.arange(0, ITEMS, 3)
    nearest.hide(np.array([0, 1]))
    content[changed] = vectors(changed.size, seed=3)
    nearest.put(changed, content[changed])
    assert len(nearest) == ITEMS
    assert recall(nearest, content, np.arange(ITEMS) > 1) > 0.9


def test_the_same_centroids_make_the_same_file(nearest: ContentIndex, content: np.ndarray) -> None:
    again, queries = ContentIndex(nearest.centroids), vectors(20, seed=4)
    for start in range(0, ITEMS, 700):
        again.put(np.arange(ITEMS)[start : start + 700], content[start : start + 700])
    assert np.array_equal(again.search(queries, 10), nearest.search(queries, 10))


def test_few_items_are_all_found() -> None:
    content = vectors(3, seed=5)
    nearest = ContentIndex(choose_centroids(content))
    nearest.put(np.array([7, 3, 9]), content)
    (found,) = nearest.search(content[:1], 5)
    assert sorted(found) == [NOTHING, NOTHING, 3, 7, 9]


def test_centroids_are_distinct() -> None:
    content = np.repeat(vectors(5, seed=6), 100, axis=0)
    assert len(choose_centroids(content)) == 5
