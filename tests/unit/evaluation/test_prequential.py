"""Prequential figures, computed by hand: ranks, figures and means."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.evaluation.lists import CUTOFF
from pipeline.evaluation.prequential import (
    Quality,
    Scores,
    TargetScores,
    concatenate,
    empty_scores,
    per_target,
    rank_by_shared_scores,
    rank_targets,
)


def scores(ranks: list[float], first: list[bool]) -> Scores:
    by_scorer = TargetScores(np.array(ranks), -np.array(ranks))
    slices = {"all": np.ones(len(ranks), dtype=np.bool_), "first_of_basket": np.array(first, dtype=np.bool_)}
    return replace(empty_scores(), by_scorer={"model": by_scorer}, slices=slices)


def test_ranks_begin_at_one_and_ties_count_half() -> None:
    scored = torch.tensor([[-1.0, -2.0, -3.0, -4.0], [-1.0, -1.0, -1.0, -5.0]])
    by_scorer = rank_targets(scored, torch.tensor([2, 1]))
    assert by_scorer.ranks.tolist() == [3, 2]
    assert by_scorer.log_probabilities.tolist() == [-3, -1]


def test_a_scorer_with_equal_scores_is_no_better_than_chance() -> None:
    assert rank_targets(torch.zeros(1, 99), torch.tensor([7])).ranks.tolist() == [50]


def test_concatenated_parts_equal_the_whole() -> None:
    scored, targets = torch.randn(10, 7), torch.arange(10) % 7
    whole = rank_targets(scored, targets)
    pairs = zip(torch.split(scored, 4), torch.split(targets, 4), strict=True)
    parts = concatenate([rank_targets(some, own) for some, own in pairs])
    assert parts.ranks.tolist() == whole.ranks.tolist()
    assert parts.log_probabilities.tolist() == whole.log_probabilities.tolist()


def test_figures_follow_from_ranks() -> None:
    figures = per_target(TargetScores(np.array([1.0, 3.0, CUTOFF, CUTOFF + 1]), np.array([-1.0, -2, -3, -4])))
    assert figures["hr@20"].tolist() == [1, 1, 1, 0]
    assert figures["mrr@20"] == pytest.approx([1, 1 / 3, 1 / 20, 0])
    assert figures["ndcg@20"] == pytest.approx([1, 1 / 2, 1 / math.log2(21), 0])
    assert figures["log_loss"].tolist() == [1, 2, 3, 4]


def test_means_weigh_targets_and_not_batches() -> None:
    quality = Quality()
    quality.add(scores([1, 1, 50], [True, False, False]))
    quality.add(scores([50], [True]))
    report = quality.report()["model"]
    assert report["all"]["n"] == 4
    assert report["all"]["hr@20"] == pytest.approx(2 / 4)
    assert report["first_of_basket"]["n"] == 2
    assert report["first_of_basket"]["mrr@20"] == pytest.approx(1 / 2)


def test_a_slice_without_targets_has_no_figures() -> None:
    quality = Quality()
    quality.add(scores([1], [False]))
    assert quality.report()["model"]["first_of_basket"] == {
        "n": 0,
        "hr@20": None,
        "mrr@20": None,
        "ndcg@20": None,
        "log_loss": None,
    }


def test_a_half_life_decays_old_scores() -> None:
    quality = Quality(half_life=2)
    quality.add(scores([1, 1], [True, True]))
    quality.add(scores([50, 50], [True, True]))
    figures = quality.report()["model"]["all"]
    assert figures["n"] == 3
    assert figures["hr@20"] == pytest.approx(1 / 3)


def test_empty_scores_change_nothing() -> None:
    quality = Quality()
    quality.add(scores([1, 50], [True, False]))
    before = quality.report()["model"]
    quality.add(empty_scores())
    assert {name: quality.report()["model"][name] for name in before} == before
    assert math.isnan(empty_scores().loss)


def test_shared_scores_rank_as_scores_per_target() -> None:
    random = torch.Generator().manual_seed(0)
    scored, targets = (
        torch.randint(9, (40,), generator=random).float(),
        torch.randint(40, (30,), generator=random),
    )
    shared, each = (
        rank_by_shared_scores(scored, scored[targets], 40),
        rank_targets(scored.expand(30, 40), targets),
    )
    assert shared.ranks.tolist() == each.ranks.tolist()
    assert shared.log_probabilities.tolist() == each.log_probabilities.tolist()


def test_the_best_scores_rank_what_is_above_them_and_nothing_else() -> None:
    best, targets = torch.tensor([-1.0, -2.0, -2.0, -3.0]), torch.tensor([-1.0, -2.0, -3.0, -9.0])
    assert rank_by_shared_scores(best, targets, 90).ranks.tolist() == [1, 2.5, 90, 90]
    assert rank_by_shared_scores(best, targets[:3], 4).ranks.tolist() == [1, 2.5, 4]
