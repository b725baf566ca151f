"""The network that servers ask says what the one that learns does."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.value.network import OUTPUTS, NetworkSizes, ServedNetwork, outputs

SIZES = NetworkSizes(state=3, action=5, width=8)


def test_plain_arrays_say_what_tensors_do() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=sum(SIZES.lengths)).astype(np.float32)
    state, actions = random.normal(size=3).astype(np.float32), random.normal(size=(7, 5)).astype(np.float32)
    one = torch.from_numpy(state[None]), torch.from_numpy(actions[None])
    of_tensors = outputs(torch.from_numpy(weights), SIZES, *one)
    served = ServedNetwork.of(weights, SIZES).outputs(state, actions)
    assert served.shape == (8, OUTPUTS) and served.dtype == np.float32
    np.testing.assert_allclose(served, of_tensors[0].numpy(), rtol=1e-4, atol=1e-4)
