"""What was chosen is scanned, and all else is found by its content, whatever changed since."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.config import ModelSizes
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import Rows
from pipeline.model.likeness import NEARNESS, NO_ITEM
from pipeline.model.mixer import FEATURES
from pipeline.model.recommender import Recommender
from pipeline.retrieval.content_index import choose_centroids
from pipeline.retrieval.item_search import ItemSearch, SearchChoice
from pipeline.retrieval.scan import MODEL, NO_ROWS, Queries
from pipeline.state.growing import distinct
from pipeline.state.popularity import DecayedPopularity
from tests.support.build import popularity_of

ITEMS, SCANNED, WIDTH = 200, 64, 32


@pytest.fixture
def recommender(backbone: Backbone) -> Recommender:
    return Recommender(backbone, ModelSizes(lora_rank=2, lora_alpha=4, adapter_rank=4), seed=0).eval()


def rows_of(size: int) -> Rows:
    generator = torch.Generator().manual_seed(0)
    content = torch.nn.functional.normalize(torch.randn(size, WIDTH, generator=generator), dim=1)
    return Rows(content, torch.zeros(size, WIDTH), torch.zeros(size))


def falling(size: int) -> DecayedPopularity:
    return popularity_of(np.arange(size, dtype=np.float64)[::-1].copy())


def search_of(items: Rows, choice: SearchChoice) -> ItemSearch:
    search = ItemSearch()
    search.choose(choice, items)
    search.refresh(items, falling(len(items.bias)), NO_ROWS, NO_ROWS)
    return search


def choice_of(items: Rows) -> SearchChoice:
    return SearchChoice(np.arange(SCANNED), True, choose_centroids(items.content))


def found(
    search: ItemSearch, recommender: Recommender, items: Rows, user: torch.Tensor, nearest: int = 3
) -> list[int]:
    """The best scanned row by the model, and then those that are found by content."""
    weights = torch.zeros(1, len(FEATURES))
    weights[:, MODEL] = 1
    asked = Queries(user[None], weights, np.full((1, len(NEARNESS)), NO_ITEM))
    rows, bound = search.find(recommender, asked, items, 1, nearest)
    assert bool(bound.isinf()) != search.is_complete
    return [int(row) for row in rows[0]]


@torch.inference_mode()
def test_what_is_chosen_is_scanned_and_others_are_found_by_content(recommender: Recommender) -> None:
    items = rows_of(ITEMS)
    search = search_of(items, choice_of(items))
    assert not search.is_complete
    for row in (5, 63):
        best, *others = found(search, recommender, items, items.content[row])
        assert best == row
        assert min(others) >= SCANNED
    for row in range(SCANNED, ITEMS):
        assert row in found(search, recommender, items, items.content[row])[1:]


@torch.inference_mode()
def test_what_changes_is_found_as_it_is_now(recommender: Recommender) -> None:
    items = rows_of(ITEMS)
    search = search_of(items, choice_of(items))
    other = torch.nn.functional.normalize(torch.ones(WIDTH), dim=0)
    items.content[150], items.residual[7] = other, 3 * torch.nn.functional.normalize(-other, dim=0)
    search.refresh(items, falling(ITEMS), np.array([7]), np.array([150]))
    assert 150 in found(search, recommender, items, other)[1:]
    assert found(search, recommender, items, -other)[0] == 7


@torch.inference_mode()
def test_another_choice_is_searched_as_by_one_that_begins_with_it(recommender: Recommender) -> None:
    items = rows_of(ITEMS)
    before, after = choice_of(items), SearchChoice(np.arange(30, 130), True, choose_centroids(items.content))
    search = search_of(items, before)
    search.choose(after._replace(centroids=before.centroids), items)
    search.refresh(items, falling(ITEMS), NO_ROWS, NO_ROWS)
    for user in items.content[::7]:
        assert found(search, recommender, items, user) == found(
            search_of(items, after), recommender, items, user
        )


@torch.inference_mode()
def test_all_are_scanned_as_they_grow(recommender: Recommender) -> None:
    items, search = rows_of(SCANNED), ItemSearch()
    for size in (40, SCANNED):
        some = Rows(*(column[:size] for column in items))
        search.choose(SearchChoice(np.arange(size), True), some)
        search.refresh(some, falling(size), NO_ROWS, NO_ROWS)
        assert search.is_complete
        assert found(search, recommender, items, items.content[size - 1]) == [size - 1]
        assert np.array_equal(search.log_shares, falling(size).log_share())


def test_log_shares_are_those_of_the_counts_whether_or_not_it_is_named_which_have_changed() -> None:
    items, popularity, random = rows_of(ITEMS), falling(ITEMS), np.random.default_rng(0)
    search = search_of(items, choice_of(items))
    others = search.choice._replace(rows=np.arange(30, 130))
    for chosen in (search.choice, others):
        search.choose(chosen, items)
        for is_named in (True, True, False, True):
            counted = distinct(random.choice(ITEMS, size=20))
            popularity.replace(counted, random.random(counted.size))
            popularity.scale *= 0.9
            search.refresh(items, popularity, NO_ROWS, NO_ROWS, counted if is_named else None)
            assert np.array_equal(search.log_shares, popularity.log_share(chosen.rows))
