"""The network of the DQN: two hidden layers over a state and an action, one of which is to choose nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from pipeline.value.port import Vectors

OUTPUTS = 4
"""If it is chosen, its reward and the value of what follows; logit of the choice; effect of being shown."""


@dataclass(frozen=True)
class NetworkSizes:
    """Numbers of features of a state and of an action, and of units in each of two hidden layers."""

    state: int
    action: int
    width: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weights of a state, of an action and of nothing, those past the hidden layers after
        those to them; and of the layers above, with biases."""
        width, both = self.width, self.width + OUTPUTS
        first = (self.state, both), (self.action, both), (1, both), (both,)
        return (*first, (width, width), (width,), (width, OUTPUTS), (OUTPUTS,))

    @property
    def lengths(self) -> list[int]:
        """Numbers of weights in these shapes."""
        return [int(np.prod(shape)) for shape in self.shapes]

    def born(self, random: np.random.Generator) -> Tensor:
        """Draw weights in one vector (He et al. 2015); those of the last layer are 0, and so all outputs."""
        inputs = self.state + self.action + 1
        scales = (2 / inputs, 2 / inputs, 2 / inputs, 0.0, 2 / self.width, 0.0, 0.0, 0.0)
        parts = [
            random.normal(size=shape) * np.sqrt(scale)
            for shape, scale in zip(self.shapes, scales, strict=True)
        ]
        for part in parts[:3]:
            part[:, self.width :] = 0
        return torch.from_numpy(np.concatenate([part.ravel() for part in parts]).astype(np.float32))


def outputs(weights: Tensor, sizes: NetworkSizes, states: Tensor, actions: Tensor) -> Tensor:
    """Return what is said of each action and then of choosing nothing, ``[b, m + 1, OUTPUTS]``.

    Args:
        weights: one vector.
        states: ``[b, s]``, standardised.
        actions: ``[b, m, p]``, standardised.
    """
    parts = zip(torch.split(weights, sizes.lengths), sizes.shapes, strict=True)
    of_state, of_action, nothing, bias, second, second_bias, last, last_bias = (p.view(s) for p, s in parts)
    of_actions = torch.cat((actions @ of_action, nothing.expand(len(states), 1, -1)), dim=1)
    both = of_actions + (states @ of_state + bias)[:, None]
    hidden, linear = torch.split(both, [sizes.width, OUTPUTS], dim=-1)
    hidden = torch.relu(torch.relu(hidden) @ second + second_bias)
    return torch.add(hidden @ last + linear, last_bias)


class ServedNetwork(NamedTuple):
    """The network in plain arrays, for one state, where tensors take several times as long."""

    of_state: Vectors
    of_action: Vectors
    nothing: Vectors
    bias: Vectors
    second: Vectors
    second_bias: Vectors
    last: Vectors
    last_bias: Vectors

    @classmethod
    def of(cls, weights: Vectors, sizes: NetworkSizes) -> Self:
        """Divide one vector of weights."""
        parts = np.split(weights, np.cumsum(sizes.lengths)[:-1])
        return cls(*(part.reshape(shape) for part, shape in zip(parts, sizes.shapes, strict=True)))

    def outputs(self, state: Vectors, actions: Vectors) -> Vectors:
        """Return what is said of actions ``[m, p]`` in a state ``[s]`` and of nothing."""
        both = np.empty((len(actions) + 1, self.bias.size), dtype=np.float32)
        np.matmul(actions, self.of_action, out=both[:-1])
        both[-1] = self.nothing
        both += state @ self.of_state + self.bias
        hidden = np.maximum(both[:, :-OUTPUTS], 0) @ self.second
        hidden += self.second_bias
        found: Vectors = np.maximum(hidden, 0, out=hidden) @ self.last
        found += both[:, -OUTPUTS:]
        found += self.last_bias
        return found
