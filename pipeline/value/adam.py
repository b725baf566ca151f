"""Adam (Kingma and Ba 2015) on one tensor, with a state of plain arrays and a rate for each step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.value.checks import read_array
from pipeline.value.port import Arrays

DECAYS = 0.9, 0.999
EPSILON = 1e-8


class Adam:
    """Moments of the gradients of some weights.

    Attributes:
        weights: what is learned; changed in place.
        steps: how many were taken.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights.requires_grad_()
        self.steps = 0
        self._mean, self._square = torch.zeros_like(weights), torch.zeros_like(weights)

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Take a step against a gradient."""
        self.steps += 1
        self._mean.lerp_(gradient, 1 - DECAYS[0])
        self._square.lerp_(gradient**2, 1 - DECAYS[1])
        mean, square = (1 - decay**self.steps for decay in DECAYS)
        self.weights.sub_(rate / mean * self._mean / ((self._square / square).sqrt() + EPSILON))

    def state(self) -> Arrays:
        """Return weights, moments and the number of steps."""
        return {
            "weights": self.weights.detach().numpy().copy(),
            "mean": self._mean.numpy().copy(),
            "square": self._square.numpy().copy(),
            "steps": np.array([self.steps]),
        }

    def load(self, state: Arrays) -> None:
        """Restore a state.

        Raises:
            ValueError: it is one of other weights, or no moments.
        """
        shape = tuple(self.weights.shape)
        names = "weights", "mean", "square"
        weights, mean, square = (torch.from_numpy(read_array(state, n, shape, np.float32)) for n in names)
        steps = int(read_array(state, "steps", (1,), np.int64)[0])
        if steps < 0 or (square < 0).any():
            raise ValueError("steps or means of squares are negative")
        self.weights, self._mean, self._square = weights.requires_grad_(), mean, square
        self.steps = steps
