"""What is learned from histories alone: views of one are alike, hidden items follow from both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pipeline.config import ModelSizes, OptimizerConfig, RowRates
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import ItemTable
from pipeline.model.losses import Negatives
from pipeline.model.recommender import Recommender
from pipeline.state.segments import Segment
from pipeline.training.objectives.chosen import mixed
from pipeline.training.objectives.contrastive import Contrastive
from pipeline.training.objectives.masked_item import MaskedItem
from pipeline.training.objectives.port import HistoryBatch, Unsupervised
from pipeline.training.optimizer import OptimizerStep
from tests.support.build import segment

ITEMS = 12
CPU = torch.device("cpu")
NEGATIVES = Negatives(torch.arange(ITEMS), torch.zeros_like)


@pytest.fixture
def recommender(backbone: Backbone) -> Recommender:
    return Recommender(backbone, ModelSizes(adapter_rank=4), seed=0).eval()


@pytest.fixture
def table(backbone: Backbone) -> ItemTable:
    made = ItemTable(backbone.width, CPU, RowRates())
    made.grow(ITEMS)
    content = torch.randn(ITEMS, backbone.width, generator=torch.Generator().manual_seed(0))
    made.set_content(torch.arange(ITEMS), torch.nn.functional.normalize(content))
    return made


def learned(
    objective: Unsupervised, recommender: Recommender, table: ItemTable, segments: Sequence[Segment]
) -> list[float]:
    """The losses of 60 steps."""
    optimizer, losses = OptimizerStep(recommender, table, OptimizerConfig(rate=3e-3)), []
    for step in range(60):
        random = np.random.default_rng(step)
        loss, touched = objective.loss(HistoryBatch(recommender, table, segments, NEGATIVES, random))
        assert optimizer.step(loss, [touched])
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("objective", [Contrastive(), MaskedItem()])
def test_it_learns(objective: Unsupervised, recommender: Recommender, table: ItemTable) -> None:
    losses = learned(objective, recommender, table, [segment([1, 2, 3, 4, 5]), segment([6, 7, 8, 9, 10])])
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_a_hidden_item_follows_from_what_comes_after_it(recommender: Recommender, table: ItemTable) -> None:
    """The first act has nothing before it: only its successors can tell."""
    pairs = [segment([first, first + 6]) for first in range(6)]
    losses = learned(MaskedItem(), recommender, table, pairs * 4)
    assert np.mean(losses[-5:]) < 0.5 * np.log(6)


def test_a_hidden_item_is_not_seen(recommender: Recommender, table: ItemTable) -> None:
    """Every draw hides at least one act; of a single act, nothing is left to tell its item by."""
    alone = [
        MaskedItem().loss(
            HistoryBatch(recommender, table, [segment([item])], NEGATIVES, np.random.default_rng(0))
        )[0]
        for item in range(ITEMS)
    ]
    assert torch.stack(alone).exp().reciprocal().sum().item() == pytest.approx(1, abs=1e-4)


def test_without_a_share_nothing_is_computed(recommender: Recommender, table: ItemTable) -> None:
    given = HistoryBatch(recommender, table, [segment([1, 2, 3])], NEGATIVES, np.random.default_rng(0))
    supervised = torch.tensor(2.0)
    assert mixed(0, supervised, MaskedItem(), given) == (supervised, [])
    before = given.random.bit_generator.state
    loss, touched = mixed(0.25, supervised, MaskedItem(), given)
    assert given.random.bit_generator.state != before
    alone, rows = MaskedItem().loss(given._replace(random=np.random.default_rng(0)))
    assert loss.item() == pytest.approx(0.25 * alone.item() + 1.5)
    assert torch.equal(touched[0].indices, rows.indices)
