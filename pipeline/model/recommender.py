"""The recommender: item vectors, user vectors, and what one makes of the other.

v_i = (I + BA)·t_i + e_i: frozen content, a linear low-rank adapter that is zero at birth,
and a residual row that is zero at birth; an item nobody has met is scored by its text.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipeline.config import ModelSizes
from pipeline.model.backbone import Backbone
from pipeline.model.device import recurring
from pipeline.model.item_table import Rows
from pipeline.model.sequences import Packed
from pipeline.model.tower import Tower

SCALE_AT_BIRTH = 10.0


class Recommender(nn.Module):
    """What is learned by gradient, except for the item table's rows."""

    def __init__(self, backbone: Backbone, sizes: ModelSizes, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)  # the birth of adapters is the only use of torch's own randomness
        width = backbone.width
        self.tower = Tower(backbone, sizes)
        self.adapter_in = nn.Parameter(torch.randn(sizes.adapter_rank, width) / math.sqrt(width))
        self.adapter_out = nn.Parameter(torch.zeros(width, sizes.adapter_rank))
        self.log_scale = nn.Parameter(torch.tensor(SCALE_AT_BIRTH).log())

    def learned(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name; the frozen backbone is not among them."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def load_learned(self, state: dict[str, Tensor]) -> None:
        """Take over the values of the parameters that learn."""
        with torch.no_grad():
            for name, parameter in self.learned().items():
                parameter.copy_(state[name])

    def item_vectors(self, rows: Rows) -> Tensor:
        """v of the given rows, ``[n, d]``."""
        adapted = (rows.content @ self.adapter_in.T) @ self.adapter_out.T
        return rows.content + adapted + rows.residual

    def user_vectors(self, vectors: Tensor, packed: Packed) -> Tensor:
        """User vectors after each act, ``[acts, d]``, from the acts' item vectors ``[acts, d]``.

        Both are in the order of ``packed.indices``: how rows are laid out is known here alone.
        """
        rows, width = packed.items.shape
        laid_out = vectors.new_zeros(rows * width, vectors.shape[1]).index_copy(0, packed.indices, vectors)
        vectors = laid_out.view(rows, width, -1)
        with torch.autocast(vectors.device.type, dtype=torch.bfloat16, enabled=vectors.is_cuda):
            users: Tensor = self.tower(vectors, packed)
        return users.float()

    def logits(self, users: Tensor, vectors: Tensor, bias: Tensor) -> Tensor:
        """σ(u·v) + b for users ``[m, d]`` and item vectors ``[n, d]``: ``[m, n]``."""
        return torch.addmm(bias, self.log_scale.exp() * users, vectors.T)

    def own_logits(self, users: Tensor, vectors: Tensor, bias: Tensor) -> Tensor:
        """σ(u·v) + b for each user ``[m, d]`` with their own item ``[m, d]``: ``[m]``."""
        return self.log_scale.exp() * (users * vectors).sum(dim=1) + bias

    def rank_all(self, users: Tensor, items: Rows) -> Tensor:
        """Log-probabilities of all n items for users ``[m, d]``: ``[m, n]``."""
        return torch.log_softmax(self.score_all(users, items), dim=1)

    @torch.no_grad()
    def score_all(self, users: Tensor, items: Rows) -> Tensor:
        """Logits of all n items for users ``[m, d]``: ``[m, n]``.

        The adapter is folded into the query, u' = (I + BA)ᵀu, so that the matrix of
        content never changes.
        """
        m = len(users)
        users = self.log_scale.exp() * torch.nn.functional.pad(users, (0, 0, 0, recurring(m) - m))
        queries = users + (users @ self.adapter_out) @ self.adapter_in
        scores = torch.addmm(items.bias, queries, items.content.T).addmm_(users, items.residual.T)
        return scores[:m]
