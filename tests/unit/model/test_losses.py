"""Sampled softmax learns what full softmax would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.model.losses import Negatives, draw_negatives, sampled_softmax
from tests.support.build import popularity_of

CPU = torch.device("cpu")
LOGITS = torch.tensor([[0.5, -1.0, 2.0, 0.0], [1.0, 1.5, -0.5, 0.2]])
TARGETS = torch.tensor([2, 0])


def loss_of(logits: Tensor, targets: Tensor, drawn: Negatives) -> Tensor:
    positive = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    return sampled_softmax(positive, logits[:, drawn.items], targets, drawn)


def test_with_every_item_once_it_is_the_full_softmax() -> None:
    everything = Negatives(torch.arange(4), torch.zeros_like)
    full = cross_entropy(LOGITS, TARGETS, reduction="none")
    torch.testing.assert_close(loss_of(LOGITS, TARGETS, everything), full)


def test_a_negative_that_is_the_target_does_not_count() -> None:
    without = loss_of(LOGITS, TARGETS, Negatives(torch.tensor([1, 3]), torch.zeros_like))
    hit = loss_of(LOGITS, TARGETS, Negatives(torch.tensor([1, 2, 3]), torch.zeros_like))
    assert hit[0] == without[0]
    assert hit[1] > without[1]


def test_an_item_drawn_often_counts_less() -> None:
    items = torch.tensor([1])
    rare = loss_of(LOGITS, TARGETS, Negatives(items, torch.zeros_like))
    often = loss_of(LOGITS, TARGETS, Negatives(items, torch.tensor([0.0, 3.0, 0.0, 0.0]).__getitem__))
    assert (often < rare).all()


def divergence(wanted: Tensor, corrected: bool) -> float:
    """KL divergence of free logits, trained on targets and negatives with the wanted shares, from them."""
    random = np.random.default_rng(0)
    logits = torch.zeros(wanted.numel(), requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    popularity = popularity_of(wanted.numpy())
    for targets in torch.from_numpy(random.choice(wanted.numel(), (300, 256), p=wanted.numpy())):
        drawn = draw_negatives(popularity, 4, random, CPU)
        if not corrected:
            drawn = Negatives(drawn.items, torch.zeros_like)
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(logits.expand(256, -1), targets, drawn).mean())
        optimizer.step()
    return float((wanted * (wanted.log() - logits.detach().log_softmax(dim=0))).sum())


def test_the_correction_makes_the_learned_shares_right() -> None:
    wanted = 1 / torch.arange(1, 51, dtype=torch.float64)
    wanted /= wanted.sum()
    assert divergence(wanted, corrected=True) < 0.1
    assert divergence(wanted, corrected=False) > 0.3


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=700).map(np.array), st.integers(1, 600))
def test_the_expected_numbers_of_draws_sum_to_all_draws(counts: NDArray[np.float64], count: int) -> None:
    popularity = popularity_of(counts)
    drawn = draw_negatives(popularity, count, np.random.default_rng(0), CPU)
    assert drawn.items.numel() == count
    expected = drawn.log_expected(torch.arange(counts.size)).double().exp().sum()
    assert float(expected) == pytest.approx(count, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_negatives_are_drawn_as_often_as_they_say(count: int) -> None:
    counts = np.zeros(600)
    counts[[0, 1, 599]] = 60, 30, 10
    popularity, random = popularity_of(counts), np.random.default_rng(0)
    rounds = 60_000 // count
    drawn = [draw_negatives(popularity, count, random, CPU) for _ in range(rounds)]
    found = torch.bincount(torch.cat([one.items for one in drawn]), minlength=600) / rounds
    expected = drawn[0].log_expected(torch.arange(600)).exp()
    popular = torch.tensor([0, 1, 599])
    torch.testing.assert_close(found[popular], expected[popular], rtol=0.1, atol=0.01)
    others = slice(2, 599)
    torch.testing.assert_close(found[others].sum(), expected[others].sum(), rtol=0.05, atol=0)


def test_without_counts_every_item_is_as_likely() -> None:
    drawn = draw_negatives(popularity_of(np.zeros(4)), 8, np.random.default_rng(0), CPU)
    assert drawn.log_expected(torch.arange(4)).exp().tolist() == pytest.approx([2, 2, 2, 2])


def test_the_same_randomness_draws_the_same() -> None:
    popularity = popularity_of(np.ones(9))
    one, other = (draw_negatives(popularity, 32, np.random.default_rng(5), CPU) for _ in range(2))
    assert torch.equal(one.items, other.items)
