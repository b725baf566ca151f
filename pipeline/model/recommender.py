"""The recommender: item vectors, user vectors, and the logits of users for items.

An item vector is v_i = (I + BA)·t_i + Σ g_m·B_m A_m x_im + e_i, where t_i is the frozen content of the text,
BA a linear low-rank adapter, x_im what is known of the item beside its text (vectors, attributes, related
items, see `fusion`), and e_i a residual row. BA, all B_m and e_i are initially zero, so a new item is scored
by its text.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.config import ModelSizes, Precision
from pipeline.model.backbone import Backbone
from pipeline.model.device import padded, recurring
from pipeline.model.fusion import Fusion, ModalityFigures
from pipeline.model.introduction import Introduction
from pipeline.model.item_table import Rows
from pipeline.model.sequences import Packed
from pipeline.model.tower import Tower

INITIAL_SCALE = 10.0
AT_ONCE, AT_ONCE_ON_GPU = 2_048, 65_536
"""Rows whose content is converted to float32 at a time. 3 MB of width 384 stay in a core's cache: one user
among 25,000 items took 7 ms instead of 27."""


class Recommender(nn.Module):
    """All parameters that are learned by gradient, except the rows of the item table."""

    def __init__(
        self, backbone: Backbone, sizes: ModelSizes, seed: int, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        self._autocasts = precision == "bfloat16"
        torch.manual_seed(seed)  # torch's global generator is used only here, to initialise adapters
        width = backbone.width
        self.tower = Tower(backbone, sizes)
        self.adapter_in = nn.Parameter(torch.randn(sizes.adapter_rank, width) / math.sqrt(width))
        self.adapter_out = nn.Parameter(torch.zeros(width, sizes.adapter_rank))
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())
        self.fusion = Fusion(width, sizes.adapter_rank, sizes.modalities, bool(sizes.relations))
        self.introduction = Introduction(width, sizes.user_attributes)

    def learned(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters by name, without the frozen backbone."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def load_learned(self, state: dict[str, Tensor]) -> None:
        """Set the values of the trainable parameters."""
        with torch.no_grad():
            for name, parameter in self.learned().items():
                parameter.copy_(state[name])

    def item_vectors(self, rows: Rows, has_content: bool = True) -> Tensor:
        """Compute the item vectors of the given rows, ``[n, d]``.

        `has_content` says whether any item's content is not zero; otherwise what maps it has no gradient.
        """
        if not has_content:
            return rows.residual
        content, width = rows.content.float(), rows.residual.shape[1]
        text = content[:, :width]
        adapted = (text @ self.adapter_in.T) @ self.adapter_out.T
        vectors = text + adapted + rows.residual
        return vectors + self.fusion(content[:, width:]) if len(self.fusion) else vectors

    def user_vectors(self, vectors: Tensor, packed: Packed, after: Tensor | None = None) -> Tensor:
        """Compute the user vectors after some acts, ``[m, d]``, from the item vectors ``[acts, d]`` of all.

        Acts are in the order of ``packed.indices``; callers need not know the layout of the rows.

        Args:
            vectors: of the items of all acts.
            packed: the acts.
            after: ``[m]`` acts to compute a vector after; by default every one. The others cost a quarter.
        """
        rows, width = packed.items.shape
        laid_out = vectors.new_zeros(rows * width, vectors.shape[1]).index_copy(0, packed.indices, vectors)
        vectors = laid_out.view(rows, width, -1)
        chosen = packed.indices if after is None else packed.indices[after]
        autocasts = self._autocasts and vectors.is_cuda
        with torch.autocast(vectors.device.type, dtype=torch.bfloat16, enabled=autocasts):
            users: Tensor = self.tower(vectors, replace(packed, indices=padded(chosen)))
        return users[: chosen.numel()].float()

    def figures(self) -> dict[str, ModalityFigures]:
        """Say how much each modality of items says, and each attribute of users, by name."""
        return {**self.fusion.figures(), **self.introduction.figures()}

    def logits(self, users: Tensor, vectors: Tensor, bias: Tensor) -> Tensor:
        """Compute the logits σ(u·v) + b of users ``[m, d]`` for item vectors ``[n, d]``: ``[m, n]``."""
        return torch.addmm(bias, self.log_scale.exp() * users, vectors.T)

    def own_logits(self, users: Tensor, vectors: Tensor, bias: Tensor) -> Tensor:
        """Compute the logit σ(u·v) + b of each user ``[m, d]`` for one item each ``[m, d]``: ``[m]``."""
        return self.log_scale.exp() * (users * vectors).sum(dim=1) + bias

    def rank_all(self, users: Tensor, items: Rows) -> Tensor:
        """Compute log-probabilities of all n items for users ``[m, d]``: ``[m, n]``."""
        return torch.log_softmax(self.score_all(users, items), dim=1)

    @torch.no_grad()
    def score_all(self, users: Tensor, items: Rows, has_content: bool = True) -> Tensor:
        """Compute logits of all n items for users ``[m, d]``: ``[m, n]``; see `of_content`.

        `has_content` says whether any item's content is not zero.
        """
        m = len(users)
        of_residual = self.of_residual(torch.nn.functional.pad(users, (0, 0, 0, recurring(m) - m)))
        scores = torch.addmm(items.bias, of_residual, items.residual.T)
        if not has_content:
            return scores[:m]
        of_content = self.of_content(of_residual)
        at_once = AT_ONCE_ON_GPU if users.is_cuda else AT_ONCE
        for start in range(0, len(items.bias), at_once):
            content = items.content[start : start + at_once].float()
            scores[:, start : start + at_once].addmm_(of_content, content.T)
        return scores[:m]

    @torch.no_grad()
    def of_residual(self, users: Tensor) -> Tensor:
        """Compute what users ``[m, d]`` multiply residuals with for their logits: ``[m, d]``."""
        return self.log_scale.exp() * users

    @torch.no_grad()
    def of_content(self, of_residual: Tensor) -> Tensor:
        """Compute what users, given as `of_residual` ``[m, d]``, multiply content with: ``[m, d + Σk]``.

        The adapter is folded into the query, u' = (I + BA)ᵀu, and so are the maps of other modalities, so
        that the content matrix is used unchanged and no item vectors are computed.
        """
        of_text = of_residual + (of_residual @ self.adapter_out) @ self.adapter_in
        return torch.cat([of_text, self.fusion.folded(of_residual)], dim=1) if len(self.fusion) else of_text
