"""Any change of a bit is seen, wherever a tensor lies in its storage."""

from __future__ import annotations

import pytest
import torch

from pipeline.training.weight_bits import WeightBits


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("start", [0, 1, 3])
def test_the_changed_tensor_is_named_once(size: int, start: int) -> None:
    storage = torch.linspace(-1, 1, 80)
    part = storage[start : start + size]
    bits = WeightBits({"other": torch.ones(3), "part": part})
    assert bits.changed() == []
    for index in range(size):
        part.view(torch.int32)[index] ^= 1
        assert bits.changed() == ["part"]
        assert bits.changed() == []


def test_a_zero_and_its_negative_differ() -> None:
    zero = torch.zeros(2, 3)
    bits = WeightBits({"zero": zero})
    zero[1, 1] = -0.0
    assert bits.changed() == ["zero"]


def test_no_tensors_never_change() -> None:
    assert WeightBits({}).changed() == []
