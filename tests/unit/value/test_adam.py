"""Adam takes the steps that torch's takes, and goes on from its state to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.value.adam import Adam
from tests.support.decisions import changed, equal


def gradients(count: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(5, generator=random) for _ in range(count)]


def test_steps_are_those_of_torch() -> None:
    ours, theirs = Adam(torch.ones(5)), torch.nn.Parameter(torch.ones(5))
    oracle = torch.optim.Adam([theirs], lr=0.01)
    for gradient in gradients(20):
        ours.step(gradient, 0.01)
        theirs.grad = gradient
        oracle.step()
    assert ours.weights.tolist() == pytest.approx(theirs.tolist(), abs=1e-6)


def test_it_goes_on_from_its_state_to_the_bit() -> None:
    unbroken, restored = Adam(torch.ones(5)), Adam(torch.zeros(5))
    for number, gradient in enumerate(gradients(10)):
        if number == 5:
            restored.load(unbroken.state())
        for adam in (unbroken, restored):
            adam.step(gradient, 0.01)
        if number < 5:
            continue
        assert equal(restored.state(), unbroken.state())


BAD_STATES = {
    "weights": {"weights": np.zeros(4, np.float32)},
    "mean": {"mean": np.full(5, np.nan, np.float32)},
    "square": {"square": np.full(5, -1, np.float32)},
    "steps": {"steps": np.array([-1])},
}


@pytest.mark.parametrize("changes", BAD_STATES.values(), ids=BAD_STATES.keys())
def test_a_state_that_is_none_is_refused(changes: dict[str, np.ndarray]) -> None:
    adam = Adam(torch.ones(5))
    with pytest.raises(ValueError, match=next(iter(changes))):
        adam.load(changed(adam.state(), **changes))
