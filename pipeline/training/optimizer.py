"""One optimizer step: AdamW on the recommender, row-wise Adagrad on the touched item rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.config import OptimizerConfig
from pipeline.model.item_table import ItemTable, Rows
from pipeline.model.recommender import Recommender


class Touched(NamedTuple):
    """Distinct catalogue rows ``[n]``, and their table rows that hold the gradients."""

    indices: Tensor
    rows: Rows


class OptimizerStep:
    """The optimizers of a learner or a retrain; before the first step, AdamW has no moments."""

    def __init__(self, recommender: Recommender, table: ItemTable, config: OptimizerConfig) -> None:
        self._learned = recommender.learned()
        self._table = table
        self._clip = config.clip
        self.adamw = torch.optim.AdamW(
            self._learned.values(), lr=config.rate, weight_decay=config.weight_decay, fused=True
        )

    def step(self, loss: Tensor, touched: Sequence[Touched]) -> bool:
        """Backpropagate, clip, and step only if all values are finite; return whether they were."""
        self.adamw.zero_grad()
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self._learned.values(), self._clip)
        gradients = [(part.indices, *_gradients(part.rows)) for part in touched]
        found = (loss, norm, *(gradient for _, *both in gradients for gradient in both))
        if not all(is_finite(tensor) for tensor in found):
            return False
        self.adamw.step()
        with torch.no_grad():
            for indices, residual, bias in gradients:
                self._table.apply(indices, residual, bias)
        return True

    def moments(self) -> dict[str, Tensor]:
        """Copy AdamW's moments, as ``<moment>.<parameter>``."""
        return {
            f"{moment}.{name}": tensor.clone()
            for name, parameter in self._learned.items()
            for moment, tensor in self.adamw.state.get(parameter, {}).items()
        }

    def load_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Restore moments returned by `moments`.

        Raises:
            LookupError, ValueError: they are not those of this model's parameters.
        """
        state: dict[int, dict[str, Tensor]] = {}
        numbers = {name: number for number, name in enumerate(self._learned)}
        for dotted, tensor in moments.items():
            moment, _, name = dotted.partition(".")
            state.setdefault(numbers[name], {})[moment] = tensor.clone()
        for number, parameter in enumerate(self._learned.values()):
            _check_moments(state.get(number), parameter)
        groups = self.adamw.state_dict()["param_groups"]
        self.adamw.load_state_dict({"state": state, "param_groups": groups})


def _check_moments(moments: Mapping[str, Tensor] | None, parameter: Tensor) -> None:
    """Check that there are no moments of a parameter, or those that AdamW keeps."""
    if moments is None:
        return
    shapes = {name: tensor.shape for name, tensor in moments.items()}
    if shapes != {"step": torch.Size([]), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}:
        raise ValueError(f"AdamW keeps no such moments: {sorted(shapes)[:3]}")


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite; costs one sum."""
    return bool(torch.isfinite(tensor.sum()))


def _gradients(rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the gradients of residuals and biases; zeros for biases without a gradient."""
    assert rows.residual.grad is not None
    bias = torch.zeros_like(rows.bias) if rows.bias.grad is None else rows.bias.grad
    return rows.residual.grad, bias
