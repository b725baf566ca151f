"""Sampled softmax learns what full softmax would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.model.losses import Negatives, draw_negatives, sampled_softmax

CPU = torch.device("cpu")
LOGITS = torch.tensor([[0.5, -1.0, 2.0, 0.0], [1.0, 1.5, -0.5, 0.2]])
TARGETS = torch.tensor([2, 0])


def loss_of(logits: Tensor, targets: Tensor, drawn: Negatives) -> Tensor:
    positive = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    return sampled_softmax(positive, logits[:, drawn.items], targets, drawn)


def test_with_every_item_once_it_is_the_full_softmax() -> None:
    everything = Negatives(torch.arange(4), torch.zeros(4))
    full = cross_entropy(LOGITS, TARGETS, reduction="none")
    torch.testing.assert_close(loss_of(LOGITS, TARGETS, everything), full)


def test_a_negative_that_is_the_target_does_not_count() -> None:
    expected = torch.zeros(4)
    without = loss_of(LOGITS, TARGETS, Negatives(torch.tensor([1, 3]), expected))
    hit = loss_of(LOGITS, TARGETS, Negatives(torch.tensor([1, 2, 3]), expected))
    assert hit[0] == without[0]
    assert hit[1] > without[1]


def test_an_item_drawn_often_counts_less() -> None:
    items = torch.tensor([1])
    rare = loss_of(LOGITS, TARGETS, Negatives(items, torch.tensor([0.0, 0.0, 0.0, 0.0])))
    often = loss_of(LOGITS, TARGETS, Negatives(items, torch.tensor([0.0, 3.0, 0.0, 0.0])))
    assert (often < rare).all()


def divergence(wanted: Tensor, corrected: bool) -> float:
    """KL divergence of free logits, trained on targets and negatives with the wanted shares, from them."""
    random = np.random.default_rng(0)
    logits = torch.zeros(wanted.numel(), requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for targets in torch.from_numpy(random.choice(wanted.numel(), (300, 256), p=wanted.numpy())):
        drawn = draw_negatives(wanted.numpy(), 4, random, CPU)
        if not corrected:
            drawn = Negatives(drawn.items, torch.zeros_like(drawn.log_expected))
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(logits.expand(256, -1), targets, drawn).mean())
        optimizer.step()
    return float((wanted * (wanted.log() - logits.detach().log_softmax(dim=0))).sum())


def test_the_correction_makes_the_learned_shares_right() -> None:
    wanted = 1 / torch.arange(1, 51, dtype=torch.float64)
    wanted /= wanted.sum()
    assert divergence(wanted, corrected=True) < 0.1
    assert divergence(wanted, corrected=False) > 0.3


def test_negatives_are_drawn_as_often_as_they_say() -> None:
    counts = np.array([90.0, 10.0, 0.0, 0.0])
    drawn = draw_negatives(counts, 40_000, np.random.default_rng(0), CPU)
    expected = drawn.log_expected.exp()
    assert expected.numpy() / 40_000 == pytest.approx([0.575, 0.175, 0.125, 0.125])
    assert torch.bincount(drawn.items).numpy() == pytest.approx(expected.numpy(), rel=0.05)


def test_without_counts_every_item_is_as_likely() -> None:
    drawn = draw_negatives(np.zeros(4), 8, np.random.default_rng(0), CPU)
    assert drawn.log_expected.exp().tolist() == pytest.approx([2, 2, 2, 2])


def test_the_same_randomness_draws_the_same() -> None:
    one, other = (draw_negatives(np.ones(9), 32, np.random.default_rng(5), CPU) for _ in range(2))
    assert torch.equal(one.items, other.items)
