"""`LoraLinear` gives the same outputs and gradients as peft's own layer."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn

from pipeline.model.int8_products import Int8LoraLinear
from pipeline.model.lora import ADAPTER, LoraLinear, matrix_of

CONFIG = LoraConfig(init_lora_weights=False)


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_peft(bias: bool) -> None:
    torch.manual_seed(0)
    captured = nn.Linear(8, 5, bias=bias).requires_grad_(False)
    theirs, ours = (made(captured, ADAPTER, CONFIG, r=3, lora_alpha=6) for made in (Linear, LoraLinear))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 7, 8)
    (expected, of_theirs), (found, of_ours) = answered(theirs, x), answered(ours, x)
    torch.testing.assert_close(found, expected)
    assert of_ours.keys() == of_theirs.keys() == {"x", "lora_A.default.weight", "lora_B.default.weight"}
    for name, gradient in of_ours.items():
        torch.testing.assert_close(gradient, of_theirs[name])


@pytest.mark.parametrize("bias", [True, False])
def test_the_matrix_of_a_map_does_what_the_map_does(bias: bool) -> None:
    torch.manual_seed(0)
    captured = nn.Linear(8, 5, bias=bias).requires_grad_(False)
    ours = LoraLinear(captured, ADAPTER, CONFIG, r=3, lora_alpha=6)
    x = torch.randn(7, 8)
    for linear in (captured, ours):
        matrix, offset = matrix_of(linear, 8)
        torch.testing.assert_close(x @ matrix + offset, linear(x))
    rounded, _ = matrix_of(Int8LoraLinear(ours), 8)
    exact, _ = matrix_of(ours, 8)
    error = (rounded - exact).abs().max()
    assert 0 < error < captured.weight.abs().max() / 127


def answered(module: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a module's output for x, and the gradients of the sum of its squares, by name."""
    x = x.clone().requires_grad_()
    answer: Tensor = module(x)
    torch.autograd.backward(answer.square().sum())
    named = {"x": x, **dict(module.named_parameters())}
    return answer.detach(), {name: part.grad for name, part in named.items() if part.grad is not None}
