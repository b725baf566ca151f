"""Slates: values, choices and the best slate equal those of enumeration."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.value.slates import Estimates, best_slates, choices, gains, slate_values, swaps


def estimates(seed: int, items: int, effects: bool = False) -> Estimates:
    random = torch.Generator().manual_seed(seed)
    rewards, futures, logits, shown = (torch.randn(1, items + 1, generator=random) for _ in range(4))
    return Estimates(2 * rewards, 2 * futures, logits, shown[:, :-1] if effects else torch.zeros(1, items))


def members_of(slate: tuple[int, ...], items: int) -> Tensor:
    return torch.tensor([[item in slate for item in range(items)]])


def value_by_hand(one: Estimates, slate: tuple[int, ...]) -> float:
    """Σ v Q̄ / Σ v + Σ E / k, item by item."""
    chosen = [*slate, one.values.shape[1] - 1]
    weights = [float(one.logits[0, item].exp()) for item in chosen]
    value = sum(w * float(one.values[0, item]) for w, item in zip(weights, chosen, strict=True)) / sum(
        weights
    )
    return value + sum(float(one.effects[0, item]) for item in slate) / len(slate)


def test_choices_are_a_conditional_logit_with_nothing_as_the_last() -> None:
    logits = torch.log(torch.tensor([[1.0, 5.0, 3.0, 4.0]]))
    found = choices(logits, torch.tensor([[True, False, True]]))
    assert found[0].tolist() == pytest.approx([1 / 8, 0, 3 / 8, 4 / 8])


@given(seed=st.integers(0, 10_000), slate=st.sets(st.integers(0, 5), min_size=1))
def test_a_slates_value_is_that_of_its_items(seed: int, slate: set[int]) -> None:
    one, items = estimates(seed, 6, effects=True), tuple(sorted(slate))
    assert float(slate_values(one, members_of(items, 6))) == pytest.approx(
        value_by_hand(one, items), abs=1e-4
    )


@given(seed=st.integers(0, 10_000), size=st.integers(1, 6))
def test_the_best_slate_is_that_of_enumeration(seed: int, size: int) -> None:
    one = estimates(seed, 6)
    found = best_slates(one, torch.ones(1, 6, dtype=torch.bool), torch.tensor([size]))
    highest = max(value_by_hand(one, slate) for slate in combinations(range(6), size))
    assert int(found.sum()) == size
    assert float(slate_values(one, found)) == pytest.approx(highest, abs=1e-4)


def test_with_effects_it_is_that_of_enumeration_mostly() -> None:
    """The search is then a local one."""
    lost = []
    for seed in range(200):
        one = estimates(seed, 6, effects=True)
        found = best_slates(one, torch.ones(1, 6, dtype=torch.bool), torch.tensor([3]))
        values = [value_by_hand(one, slate) for slate in combinations(range(6), 3)]
        lost.append(
            (max(values) - float(slate_values(one, found))) / (max(values) - sum(values) / len(values))
        )
    assert sum(one < 1e-4 for one in lost) >= 175
    assert sum(lost) / len(lost) < 0.05


def test_the_best_slate_has_the_highest_gains_over_itself() -> None:
    one, size = estimates(3, 6), torch.tensor([2])
    best = best_slates(one, torch.ones(1, 6, dtype=torch.bool), size)
    order = gains(one, best, size)[0].argsort(descending=True)
    assert set(order[:2].tolist()) == set(best[0].nonzero().flatten().tolist())


def test_what_is_not_allowed_is_in_no_slate() -> None:
    one, allowed = estimates(1, 4), torch.tensor([[True, False, True, False]])
    assert best_slates(one, allowed, torch.tensor([3])).tolist() == allowed.tolist()


def test_states_have_slates_of_their_own_sizes() -> None:
    both = Estimates(*(torch.cat(parts) for parts in zip(estimates(1, 5), estimates(2, 5), strict=True)))
    found = best_slates(both, torch.ones(2, 5, dtype=torch.bool), torch.tensor([1, 3]))
    assert found.sum(dim=1).tolist() == [1, 3]


def test_extreme_logits_stay_finite() -> None:
    numbers, logits = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[500.0, -500.0, -500.0]])
    one = Estimates(numbers, numbers, logits, torch.zeros(1, 2))
    assert torch.isfinite(gains(one, torch.tensor([[False, True]]), torch.tensor([1]))).all()


@given(seed=st.integers(0, 10_000))
def test_of_slates_of_one_item_the_best_is_found_with_effects_too(seed: int) -> None:
    one, size = estimates(seed, 5, effects=True), torch.tensor([1])
    best = best_slates(one, torch.ones(1, 5, dtype=torch.bool), size)
    values = [value_by_hand(one, (item,)) for item in range(5)]
    assert float(slate_values(one, best)) == pytest.approx(max(values), abs=1e-4)
    assert values[int(swaps(one, best, size)[0].argmax())] == pytest.approx(max(values), abs=1e-4)
