"""The inverted file finds what is near, is hidden, replaced and loaded."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline.model.item_table import Rows
from pipeline.retrieval.content_index import NOTHING, ContentIndex, choose_centroids

ITEMS, WIDTH, TOPICS = 3_000, 32, 40


def vectors(count: int, seed: int) -> np.ndarray:
    """Unit vectors around some topics, as texts are."""
    random = np.random.default_rng(seed)
    topics = np.random.default_rng(0).standard_normal((TOPICS, WIDTH))
    found = topics[random.integers(TOPICS, size=count)] + 0.3 * random.standard_normal((count, WIDTH))
    unit: np.ndarray = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


def centroids_of(content: np.ndarray) -> np.ndarray:
    found = choose_centroids(torch.from_numpy(content))
    assert found is not None
    return found


@pytest.fixture
def content() -> np.ndarray:
    return vectors(ITEMS, seed=1)


@pytest.fixture
def nearest(content: np.ndarray) -> ContentIndex:
    found = ContentIndex(centroids_of(content))
    found.put(np.arange(ITEMS), content)
    return found


def table_of(content: np.ndarray) -> Rows:
    rows = torch.from_numpy(content)
    return Rows(rows, torch.zeros_like(rows), torch.zeros(len(rows)))


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


def test_lists_of_another_file_are_taken_as_they_are(nearest: ContentIndex, content: np.ndarray) -> None:
    again, queries = ContentIndex(nearest.centroids), vectors(20, seed=4)
    table, lists = table_of(content), nearest.lists.values.copy()
    lists[5] = 0
    again.put_from(table, np.arange(ITEMS), lists)
    assert len(again) == ITEMS - 1
    nearest.hide(np.array([5]))
    assert np.array_equal(again.search(queries, 10), nearest.search(queries, 10))
    farthest = np.argmin(nearest.centroids @ content[7]) + 1
    again.put(np.array([5]), content[7:8], np.array([farthest], dtype=np.int32))
    assert again.search(content[7:8], 1)[0, 0] == 7, "row 5 is in a list that is not looked into"


def test_one_query_finds_what_it_does_among_others(nearest: ContentIndex) -> None:
    queries = vectors(20, seed=4)
    alone = [nearest.search(queries[number : number + 1], 10)[0] for number in range(20)]
    assert np.array_equal(alone, nearest.search(queries, 10))


def test_few_items_are_all_found() -> None:
    content = vectors(3, seed=5)
    nearest = ContentIndex(centroids_of(content))
    nearest.put(np.array([7, 3, 9]), content)
    (found,) = nearest.search(content[:1], 5)
    assert sorted(found) == [NOTHING, NOTHING, 3, 7, 9]


def test_what_faiss_lacks_for_this_cpu_is_not_logged() -> None:
    program = "import logging; logging.basicConfig(level=logging.INFO); import pipeline.retrieval, faiss"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stderr == ""


def test_centroids_are_distinct() -> None:
    content = np.repeat(vectors(5, seed=6), 100, axis=0)
    assert len(centroids_of(content)) == 5


def test_without_any_content_there_are_no_centroids() -> None:
    assert choose_centroids(torch.zeros(20, WIDTH)) is None


def test_a_row_without_content_is_not_found_until_it_has_some_again(
    nearest: ContentIndex, content: np.ndarray
) -> None:
    rows, queries = np.array([3, ITEMS + 5]), content[3:4].copy()
    without = table_of(np.concatenate([content, np.zeros((10, WIDTH), dtype=np.float32)]))
    without.content[3] = 0
    nearest.put_from(without, rows)
    nearest.hide(np.array([3]))
    nearest.hide(np.array([4]))
    assert not set(nearest.search(queries, 5).ravel().tolist()) & set(rows.tolist())
    nearest.put_from(table_of(content), rows[:1])
    assert nearest.search(queries, 5)[0, 0] == 3


def test_of_equal_content_the_first_rows_are_found_whenever_they_were_put(content: np.ndarray) -> None:
    content[100:160] = content[100]
    one, other = ContentIndex(centroids_of(content)), ContentIndex(centroids_of(content))
    one.put(np.arange(ITEMS), content)
    other.put(np.arange(ITEMS)[::-1].copy(), content[::-1].copy())
    other.put(np.array([100, 120]), content[[100, 120]])
    for index in (one, other):
        assert sorted(index.search(content[100:101], 20)[0].tolist()) == list(range(100, 120))
    queries = vectors(30, seed=4)
    assert np.array_equal(one.search(queries, 20), other.search(queries, 20))
