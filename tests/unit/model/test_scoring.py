"""The scores of a target do not depend on the other targets that are scored with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import ModelSizes, RowRates
from pipeline.model import scoring
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import ItemTable, Rows
from pipeline.model.mixer import ScorerOutputs
from pipeline.model.recommender import Recommender
from pipeline.model.scoring import Contexts, score_segments
from pipeline.state.covisitation import DecayedCovisitation
from pipeline.state.popularity import DecayedPopularity
from pipeline.state.segments import Rejections, Segment
from tests.support.build import as_pairs, segment
from tests.support.scorer_outputs import features_of

ITEMS = 12
SEGMENTS = [
    segment([1, 2, 1, 3, 4, 2], first_new=2, baskets=[0, 0, 1, 1, 2, 2]),
    segment([5, 5, 6], first_new=1),
    segment([7, 8, 7, 9, 7, 8, 10], first_new=0, baskets=[0, 1, 1, 2, 2, 3, 3]),
]
STARTS = np.cumsum([0] + [one.targets.size for one in SEGMENTS]).tolist()
TARGETS = STARTS[-1]
EACH = list(zip(SEGMENTS, STARTS, strict=False))


def scored(backbone: Backbone, *parts: tuple[Segment, int], padding: int = 0) -> list[ScorerOutputs]:
    """Score segments, each given with the index of its first user; all counts are of `SEGMENTS`.

    After the items come so many padding rows, which score above all others.
    """
    random = torch.Generator().manual_seed(0)
    table = ItemTable(backbone.width, torch.device("cpu"), RowRates())
    table.grow(ITEMS)
    table.set_content(torch.arange(ITEMS), torch.randn(ITEMS, backbone.width, generator=random))
    users = torch.randn(TARGETS, backbone.width, generator=random)
    covisitation, popularity = DecayedCovisitation(1e6, 500), DecayedPopularity(1e6)
    covisitation.grow(ITEMS)
    popularity.grow(ITEMS)
    steps = ((one.items[:target], int(one.items[target])) for one in SEGMENTS for target in one.targets)
    covisitation.fold(*as_pairs(steps))
    items = np.concatenate([one.items for one in SEGMENTS])
    popularity.fold(items, np.ones(items.size))
    recommender = Recommender(backbone, ModelSizes(adapter_rank=4), seed=0)
    part_users = torch.cat([users[start : start + one.targets.size] for one, start in parts])
    segments = [one for one, _ in parts]
    pads = Rows(
        torch.ones(padding, backbone.width), torch.ones(padding, backbone.width), torch.full((padding,), 99.0)
    )
    rows = Rows(*(torch.cat(pair) for pair in zip(table.all(), pads, strict=True)))
    return list(score_segments(segments, part_users, recommender, rows, covisitation, popularity))


def joined(parts: list[ScorerOutputs]) -> Tensor:
    """All features of all targets, ``[f, m, n]``."""
    return torch.cat([features_of(part) for part in parts], dim=1)


def test_targets_are_scored_in_blocks(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "TARGETS_AT_ONCE", 4)
    parts = scored(backbone, *EACH)
    assert [len(part.model) for part in parts] == [4, 4, TARGETS - 8]
    assert torch.cat([part.situation for part in parts]).tolist() == [1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_a_target_has_the_same_scores_in_any_block(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    alone = [part for one in EACH for part in scored(backbone, one)]
    monkeypatch.setattr(scoring, "TARGETS_AT_ONCE", at_once)
    torch.testing.assert_close(joined(scored(backbone, *EACH)), joined(alone), rtol=1e-4, atol=1e-4)


def test_what_opens_a_basket_is_paired_with_what_follows_there() -> None:
    parts = [*SEGMENTS, segment([3, 1, 2, 5, 6], first_new=2, baskets=[0, 0, 0, 1, 1])]
    covisitation = DecayedCovisitation(1e6, 500)
    covisitation.grow(ITEMS)
    rows = np.concatenate([one.items[one.targets] for one in parts])
    contexts = Contexts.of(parts, torch.zeros(rows.size, 4), covisitation, ITEMS)
    assert contexts.later(rows).tolist() == [[0, 2, 6, 8, 10, 13], [3, 2, 7, 7, 10, 6]]
    chosen = np.array([0, 3, 6, 10, 11, 14])
    assert contexts.select(chosen).later(rows[chosen]).tolist() == [[3], [10]]


def test_padding_rows_are_never_seen(backbone: Backbone) -> None:
    padded, exact = joined(scored(backbone, *EACH, padding=5)), joined(scored(backbone, *EACH))
    assert padded.shape == exact.shape
    torch.testing.assert_close(padded, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("is_return", "is_suggested"), [(True, False), (False, True)])
def test_covisitation_suggests_what_goes_with_a_basket_and_neither_what_is_in_it_nor_what_was_returned(
    backbone: Backbone, is_return: bool, is_suggested: bool
) -> None:
    """What was rejected otherwise keeps its share: it changes no weight of the mixer but its own."""
    basket = segment([1, 2, 3, 0], first_new=3, baskets=[0, 1, 1, 1])
    item, since, until = np.array([[4], [0], [9]])
    rejections = Rejections(item, since, until, np.array([1.0]), np.array([is_return]))
    basket = replace(basket, rejections=rejections)
    share = scored(backbone, (basket, 0))[0].covisitation[0].exp()
    not_suggested = share[11]
    assert share[1] > not_suggested and torch.equal(share[[2, 3]], not_suggested.expand(2))
    assert bool(share[4] > not_suggested) is is_suggested
