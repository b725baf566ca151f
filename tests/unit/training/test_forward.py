"""A forward pass returns the user vector before each target, and gradients for the rows it used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.config import ModelSizes, RowRates
from pipeline.model.backbone import Backbone
from pipeline.model.item_table import ItemTable
from pipeline.model.losses import Negatives
from pipeline.model.recommender import Recommender
from pipeline.state.segments import Segment
from pipeline.training.forward import Pass, forward
from tests.support.build import segment

ITEMS = 12
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recommender(backbone: Backbone) -> Recommender:
    return Recommender(backbone, ModelSizes(adapter_rank=4), seed=0).eval()


@pytest.fixture(scope="module")
def table(backbone: Backbone) -> ItemTable:
    made = ItemTable(backbone.width, CPU, RowRates())
    made.grow(ITEMS)
    content = torch.randn(ITEMS, backbone.width, generator=torch.Generator().manual_seed(0))
    made.set_content(torch.arange(ITEMS), torch.nn.functional.normalize(content))
    return made


def passed(recommender: Recommender, table: ItemTable, *segments: Segment, negatives: int = ITEMS) -> Pass:
    return forward(recommender, table, segments, Negatives(torch.arange(negatives), torch.zeros_like))


def test_targets_are_in_the_order_of_segments_and_positions(
    recommender: Recommender, table: ItemTable
) -> None:
    one = passed(recommender, table, segment([1, 2, 3, 4], 2), segment([5, 6, 1], 3), segment([7, 8, 9], 0))
    assert one.items.tolist() == [3, 4, 6, 1, 8, 9]
    assert one.new.tolist() == [True, True, False, False, True, True]
    assert one.users.shape[0] == one.losses.shape[0] == 6


def test_what_is_learned_again_is_replayed_and_not_the_context_of_new_acts(
    recommender: Recommender, table: ItemTable
) -> None:
    """The vector before a new act still depends on all that is before it."""
    all_new, last_new = (passed(recommender, table, segment([1, 2, 3, 4], first)) for first in (0, 3))
    assert last_new.items.tolist() == [4]
    torch.testing.assert_close(last_new.users, all_new.users[-1:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(passed(recommender, table, segment([9, 2, 3, 4], 3)).users, last_new.users)


def test_an_act_beyond_a_cap_is_context_and_not_a_target(recommender: Recommender, table: ItemTable) -> None:
    capped = segment([1, 2, 3])
    capped.wanted[1] = False
    assert passed(recommender, table, capped).items.tolist() == [3]


def test_a_mean_is_by_weight(recommender: Recommender, table: ItemTable) -> None:
    weighted = segment([1, 2, 3])
    weighted.weights[1:] = [0.5, 1.5]
    made = passed(recommender, table, weighted)
    first, second = made.losses.tolist()
    assert made.mean_loss(made.new).item() == pytest.approx(0.25 * first + 0.75 * second, rel=1e-5)
    assert made.mean_loss(~made.new).item() == 0


def test_users_and_losses_do_not_depend_on_other_segments(recommender: Recommender, table: ItemTable) -> None:
    segments = [segment([1, 2, 3, 4]), segment([5, 6]), segment([7, 8, 9])]
    together = passed(recommender, table, *segments)
    alone = [passed(recommender, table, one) for one in segments]
    torch.testing.assert_close(together.users, torch.cat([one.users for one in alone]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        together.losses, torch.cat([one.losses for one in alone]), rtol=1e-4, atol=1e-5
    )


def test_a_target_is_scored_without_seeing_it_or_later_acts(
    recommender: Recommender, table: ItemTable
) -> None:
    one = passed(recommender, table, segment([1, 2, 3, 4, 5]))
    other = passed(recommender, table, segment([1, 2, 3, 9, 8]))
    torch.testing.assert_close(one.users[:3], other.users[:3], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one.users[3], other.users[3], atol=1e-4)


def test_its_loss_is_that_of_the_scores_over_all_items(recommender: Recommender, table: ItemTable) -> None:
    one = passed(recommender, table, segment([1, 2, 3, 1]))
    scored = recommender.rank_all(one.users.detach(), table.all())
    expected = -scored.gather(1, one.items.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(one.losses.detach(), expected, rtol=1e-4, atol=1e-4)


def test_a_catalogue_without_content_is_scored_and_learned_by_its_residuals(
    recommender: Recommender, backbone: Backbone
) -> None:
    """As if its content, which is zero, were mapped; but what maps it learns nothing."""
    table = ItemTable(backbone.width, CPU, RowRates())
    table.grow(ITEMS)
    table.apply(torch.arange(ITEMS), torch.randn(ITEMS, backbone.width), torch.randn(ITEMS))
    rows = table.all()
    assert torch.equal(recommender.item_vectors(rows), recommender.item_vectors(rows, has_content=False))
    scored, of_all = (recommender.score_all(rows.residual, rows, has) for has in (False, True))
    torch.testing.assert_close(scored, of_all)
    recommender.zero_grad()
    torch.autograd.backward(passed(recommender, table, segment([1, 2, 3])).losses.sum())
    assert recommender.adapter_in.grad is None
    assert recommender.log_scale.grad is not None
    recommender.zero_grad()


def test_gradients_reach_the_rows_used(recommender: Recommender, table: ItemTable) -> None:
    one = passed(recommender, table, segment([7, 5, 7, 9]), negatives=2)
    assert one.touched.tolist() == [0, 1, 5, 7, 9]
    torch.autograd.backward(one.losses.sum())
    residual, bias = one.rows.residual.grad, one.rows.bias.grad
    assert residual is not None
    assert bias is not None
    assert residual.abs().sum(dim=1).count_nonzero() == 5
    np.testing.assert_array_less(bias[[2, 3, 4]].numpy(), 0)  # the targets' biases must rise
    np.testing.assert_array_less(-bias[:2].numpy(), 0)
    recommender.zero_grad()


def test_rows_that_only_round_up_the_shape_learn_nothing(
    recommender: Recommender, backbone: Backbone
) -> None:
    large = ItemTable(backbone.width, CPU, RowRates())
    large.grow(100)
    content = torch.randn(100, backbone.width, generator=torch.Generator().manual_seed(0))
    large.set_content(torch.arange(100), content)
    negatives = Negatives(torch.arange(30, 60), torch.zeros_like)
    one = forward(recommender, large, [segment([7, 5, 7, 9])], negatives)
    torch.autograd.backward(one.losses.sum())
    assert one.touched.tolist() == [5, 7, 9, *range(30, 60), 0, 0, 0]
    spare = one.touched == 0
    residual, bias = one.rows.residual.grad, one.rows.bias.grad
    assert residual is not None
    assert bias is not None
    assert not residual[spare].any()
    assert not bias[spare].any()
    assert residual[~spare].any(dim=1).all()
    recommender.zero_grad()
