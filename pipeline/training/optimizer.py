"""One optimizer step: of AdamW or another on the recommender, row-wise Adagrad on the touched item rows."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adafactor, AdamW, Optimizer

from pipeline.config import OptimizerConfig
from pipeline.errors import FrozenWeightsChanged
from pipeline.model.item_table import ItemTable, Rows
from pipeline.model.recommender import Recommender
from pipeline.training.rate_schedule import share_of_rate
from pipeline.training.weight_bits import WeightBits

log = logging.getLogger(__name__)

FULL_BATCH = 256
"""New acts of a batch that the rates were chosen for."""


class Touched(NamedTuple):
    """Distinct catalogue rows ``[n]``, and their table rows that hold the gradients."""

    indices: Tensor
    rows: Rows


LAYERS = "tower.layers."
"""Part of the names of the weights of the layers that read histories."""
INTRODUCTION = "introduction."
"""Beginning of the names of the weights that read attributes of users. Their gradient is clipped apart, so
that all else is learned as without them."""
STEPS = "schedule.steps"
"""Name of the number of steps taken; it is kept where the rate depends on it."""


class Algorithm(NamedTuple):
    """An optimizer of the shared weights.

    Attributes:
        make: makes it of parameters.
        shapes: of what it keeps beside a parameter, by name.
        scales_with_batch: how its rate follows the share that the new acts are of a full batch: by the root
            where a gradient is divided by its own size (Malladi et al. 2022), else in proportion.
    """

    make: Callable[[Iterable[Tensor], OptimizerConfig], Optimizer]
    shapes: Callable[[Tensor], dict[str, torch.Size]]
    scales_with_batch: Callable[[float], float]


def _adamw(parameters: Iterable[Tensor], config: OptimizerConfig) -> Optimizer:
    return AdamW(parameters, lr=config.rate, weight_decay=config.weight_decay, fused=True)


def _sgd(parameters: Iterable[Tensor], config: OptimizerConfig) -> Optimizer:
    return SGD(parameters, lr=config.rate, momentum=config.momentum, weight_decay=config.weight_decay)


def _adafactor(parameters: Iterable[Tensor], config: OptimizerConfig) -> Optimizer:
    return Adafactor(parameters, lr=config.rate, weight_decay=config.weight_decay)


def _of_adamw(parameter: Tensor) -> dict[str, torch.Size]:
    return {"step": torch.Size([]), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}


def _of_sgd(parameter: Tensor) -> dict[str, torch.Size]:
    return {"momentum_buffer": parameter.shape}


def _of_adafactor(parameter: Tensor) -> dict[str, torch.Size]:
    """Of a matrix, it keeps means over rows and over columns."""
    shape = parameter.shape
    if len(shape) < 2:
        return {"step": torch.Size([]), "variance": shape}
    rows, columns = torch.Size([*shape[:-1], 1]), torch.Size([*shape[:-2], 1, shape[-1]])
    return {"step": torch.Size([]), "row_var": rows, "col_var": columns}


ALGORITHMS = {
    "adamw": Algorithm(_adamw, _of_adamw, math.sqrt),
    "sgd": Algorithm(_sgd, _of_sgd, float),
    "adafactor": Algorithm(_adafactor, _of_adafactor, math.sqrt),
}
MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer", "row_var", "col_var", "variance", "schedule")
"""Beginnings of the names of moments."""


class OptimizerStep:
    """The optimizers of a learner or a retrain; before the first step, there are no moments."""

    def __init__(self, recommender: Recommender, table: ItemTable, config: OptimizerConfig) -> None:
        self._learned = recommender.learned()
        apart = {name for name in self._learned if name.startswith(INTRODUCTION)}
        parts = (self._learned.keys() - apart, apart)
        self._clipped = [
            [part for name, part in self._learned.items() if name in own] for own in parts if own
        ]
        self._table = table
        self._config, self._algorithm = config, ALGORITHMS[config.kind]
        self._steps = 0
        named = dict(recommender.named_parameters())
        self._frozen = WeightBits({name: part for name, part in named.items() if not part.requires_grad})
        self._layers = WeightBits({name: part for name, part in self._learned.items() if LAYERS in name})
        self.shared = self._algorithm.make(self._learned.values(), config)

    def step(self, loss: Tensor, touched: Sequence[Touched], acts: int = FULL_BATCH) -> bool:
        """Backpropagate, clip, and step only if all values are finite; return whether they were.

        The rate is that of a full batch, less for fewer new acts: their gradients are noisier, and there are
        more steps.
        """
        self.shared.zero_grad()
        torch.autograd.backward(loss)
        norms = [torch.nn.utils.clip_grad_norm_(group, self._config.clip) for group in self._clipped]
        gradients = [(part.indices, *_gradients(part.rows)) for part in touched]
        found = (loss, *norms, *(gradient for _, *both in gradients for gradient in both))
        if not all(is_finite(tensor) for tensor in found):
            return False
        self.shared.param_groups[0]["lr"] = self._rate(acts)
        self.shared.step()
        self._steps += 1
        with torch.no_grad():
            for indices, residual, bias in gradients:
                self._table.apply(indices, residual, bias)
        self._check_bits()
        return True

    def _check_bits(self) -> None:
        """Check that frozen weights have not changed, and that the layers have if they should.

        Raises:
            FrozenWeightsChanged: frozen weights have changed.
        """
        moved, wrong = self._layers.changed(), self._frozen.changed()
        if wrong:
            raise FrozenWeightsChanged(
                f"{len(wrong)} frozen weights changed, {wrong[0]} among them: memory is damaged, or the "
                "program at fault; start again, from the last checkpoint"
            )
        if not moved and self.shared.param_groups[0]["lr"] > 0 and self._has_gradients():
            log.error("no weight of the layers changed in a step: learn.optimizer.rate is too small")

    def _has_gradients(self) -> bool:
        """Whether a weight of the layers has a gradient that is not zero."""
        layers = [part for name, part in self._learned.items() if LAYERS in name]
        return any(part.grad is not None and bool(part.grad.any()) for part in layers)

    def _rate(self, acts: int) -> float:
        share = self._algorithm.scales_with_batch(min(1.0, acts / FULL_BATCH))
        return self._config.rate * share * share_of_rate(self._config, self._steps)

    def moments(self) -> dict[str, Tensor]:
        """Copy the moments, as ``<moment>.<parameter>``, and the number of steps where that counts."""
        moments = {
            f"{moment}.{name}": tensor.clone()
            for name, parameter in self._learned.items()
            for moment, tensor in self.shared.state.get(parameter, {}).items()
            if tensor is not None
        }
        if self._config.is_scheduled:
            moments[STEPS] = torch.tensor(self._steps)
        return moments

    def load_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Restore moments returned by `moments`; those of another algorithm are left out.

        Raises:
            LookupError, ValueError: they are not those of this model's parameters.
        """
        self._steps = _steps(moments.get(STEPS))
        state: dict[int, dict[str, Tensor]] = {}
        numbers = {name: number for number, name in enumerate(self._learned)}
        for dotted, tensor in moments.items():
            moment, _, name = dotted.partition(".")
            if dotted != STEPS:
                state.setdefault(numbers[name], {})[moment] = tensor.clone()
        if other := self._other_kind(state):
            log.warning(
                "the optimizer was %s and is %s now: its moments begin new; set the kind back to keep them",
                other,
                self._config.kind,
            )
            state = {}
        for number, parameter in enumerate(self._learned.values()):
            self._check_moments(state.get(number), parameter)
        groups = self.shared.state_dict()["param_groups"]
        self.shared.load_state_dict({"state": state, "param_groups": groups})

    def _other_kind(self, state: Mapping[int, Mapping[str, Tensor]]) -> str | None:
        """Return the other algorithm that gives all moments the names that they have."""
        parameters, own = list(self._learned.values()), self._algorithm
        kept = {number: moments.keys() for number, moments in state.items()}
        others = (
            kind
            for kind, other in ALGORITHMS.items()
            if other is not own
            and all(names == other.shapes(parameters[number]).keys() for number, names in kept.items())
        )
        return next(others, None) if kept else None

    def _check_moments(self, moments: Mapping[str, Tensor] | None, parameter: Tensor) -> None:
        """Check that there are no moments of a parameter, or those that the algorithm keeps."""
        if moments is None:
            return
        shapes = {name: tensor.shape for name, tensor in moments.items()}
        if shapes != self._algorithm.shapes(parameter):
            raise ValueError(f"{self._config.kind} keeps no such moments: {sorted(shapes)[:3]}")


def _steps(stored: Tensor | None) -> int:
    if stored is None:
        return 0
    if stored.shape or stored.dtype != torch.int64 or stored < 0:
        raise ValueError("the number of steps is no count")
    return int(stored)


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite; costs one sum."""
    return bool(torch.isfinite(tensor.sum()))


def _gradients(rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the gradients of residuals and biases; zeros for biases without a gradient."""
    assert rows.residual.grad is not None
    bias = torch.zeros_like(rows.bias) if rows.bias.grad is None else rows.bias.grad
    return rows.residual.grad, bias
