"""Figures of lists, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.evaluation.lists import (
    CUTOFF,
    LEAST_NEW_LISTS,
    MOST_USERS,
    NO_ITEM,
    RECENT_LISTS,
    ListQuality,
    Lists,
    best_columns,
    diversity,
    exposure,
    gini,
    overlap,
)


def filled(*rows: int) -> list[int]:
    return [*rows, *[NO_ITEM] * (CUTOFF - len(rows))]


def lists(*users_and_rows: tuple[int, list[int]], target: int = 0, diverse: float = 0.5) -> Lists:
    users, rows = zip(*users_and_rows, strict=True)
    n = len(users)
    return Lists(
        np.array(users, dtype=np.int64),
        np.array([filled(*some) for some in rows], dtype=np.int64),
        np.full(n, diverse),
        np.full(n, target, dtype=np.int64),
    )


ACTS = np.array([8, 1, 1, 0], dtype=np.int64)


def test_a_list_has_the_best_columns_in_order_and_no_impossible_ones() -> None:
    scores = torch.tensor([[0.1, 3.0, -torch.inf, 2.0], [4.0, -torch.inf, -torch.inf, -torch.inf]])
    assert best_columns(scores).tolist() == [filled(1, 3, 0), filled(0)]
    many = torch.arange(50.0).repeat(2, 1)
    assert best_columns(many)[1].tolist() == list(range(49, 29, -1))
    assert best_columns(many[:0]).shape == (0, CUTOFF)


def test_diversity_is_one_minus_the_mean_cosine_of_pairs() -> None:
    right, up, none = [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]
    vectors = np.array([[right, right, none], [right, up, none], [right, right, up]], dtype=np.float32)
    assert diversity(vectors) == pytest.approx([0, 1, 2 / 3])
    assert diversity(7 * vectors) == pytest.approx([0, 1, 2 / 3]), "lengths do not matter"
    same = np.random.default_rng(0).normal(size=(50, 1, 32)).repeat(20, axis=1).astype(np.float32)
    assert (diversity(same) >= 0).all(), "rounded, their cosines are above 1"
    assert np.isnan(diversity(np.array([[right, none, none]], dtype=np.float32))).all()


def test_gini_is_that_of_the_definition() -> None:
    counts = np.random.default_rng(0).integers(0, 9, 30)
    by_pairs = np.abs(counts[:, None] - counts).sum() / (2 * counts.size * counts.sum())
    assert gini(counts) == pytest.approx(by_pairs)
    assert gini(np.zeros(3, dtype=np.int64)) is None


def test_lists_spread_over_catalogue_and_tail() -> None:
    found = exposure(np.array([filled(0, 1), filled(0, 2)]), ACTS, least=7)
    assert found["coverage@20"] == 3 / 4
    assert found["tail_share@20"] == 2 / 4
    assert found["gini@20"] == pytest.approx(gini(np.array([2, 1, 1, 0])))
    assert found["gini_of_acts"] == pytest.approx(gini(ACTS))


def test_nothing_shown_has_no_figures() -> None:
    assert set(exposure(np.zeros((0, CUTOFF), dtype=np.int64), ACTS[:0], 0).values()) == {None}
    found = ListQuality().update(ACTS, 0)
    assert {name for name, value in found.items() if value is not None} == {"n", "gini_of_acts"}


def test_overlap_is_the_jaccard_index_of_the_items() -> None:
    one, other = np.array(filled(1, 2, 3)), np.array(filled(3, 2, 4, 5))
    assert overlap(one, other) == 2 / 5
    assert overlap(one, one) == 1


def test_each_list_is_compared_with_the_users_one_before() -> None:
    quality = ListQuality()
    quality.add(lists((7, [0, 1]), (8, [2, 3])))
    quality.add(lists((7, [0, 1])))
    quality.add(lists((8, [0, 1])))
    found = quality.update(ACTS, 7)
    assert found["n"] == 4
    assert found["jaccard@20"] == (1 + 0) / 2
    assert quality.figures == found


def test_figures_are_of_recent_lists_alone() -> None:
    quality = ListQuality()
    quality.add(lists((1, [0]), diverse=0.1))
    quality.add(lists(*((user, [3]) for user in range(RECENT_LISTS)), diverse=0.9))
    found = quality.update(ACTS, 7)
    assert (found["n"], found["coverage@20"]) == (RECENT_LISTS, 1 / 4)
    assert found["diversity@20"] == pytest.approx(0.9)


def test_a_user_who_was_forgotten_has_no_list_before() -> None:
    quality = ListQuality()
    quality.add(lists((-1, [0])))
    quality.add(lists(*((user, [3]) for user in range(MOST_USERS))))
    quality.add(lists((-1, [0])))
    assert quality.update(ACTS, 7)["jaccard@20"] is None


def test_figures_are_due_after_as_many_lists_as_they_are_worth() -> None:
    quality = ListQuality()
    quality.add(lists(*((user, [3]) for user in range(LEAST_NEW_LISTS))))
    assert quality.is_due(items=100)
    assert not quality.is_due(items=1_000_000)
    quality.update(ACTS, 7)
    assert not quality.is_due(items=100)


def test_lists_without_texts_have_no_diversity() -> None:
    quality = ListQuality()
    quality.add(lists((1, [0]), diverse=float("nan")))
    assert quality.update(ACTS, 7)["diversity@20"] is None


def test_groups_are_compared_by_what_they_are_shown_and_acted_on() -> None:
    groups = {0: ["red"], 1: ["red", "blue"], 2: ["blue"], 3: ["green"]}
    quality = ListQuality()
    quality.add(lists((1, [0, 1]), (2, [0, 2]), target=3))
    quality.add(lists((3, [0, 1]), target=2))
    found = quality.by_group(groups.__getitem__)
    assert list(found) == ["green", "blue", "red"], "most acts first"
    assert found["red"] == {"shown": pytest.approx(4 / 6), "acted_on": 0}
    assert found["blue"] == {"shown": pytest.approx(2 / 6), "acted_on": pytest.approx(1 / 3)}
    assert found["green"] == {"shown": 0, "acted_on": pytest.approx(2 / 3)}
