"""Opinions spread out, so that tests can look at all features of all targets."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.model.mixer import Opinions
from pipeline.state.evidence import FACTS


def features_of(told: Opinions) -> Tensor:
    """All features ``[f, m, n]``."""
    facts = torch.zeros(len(FACTS), *told.model.shape).index_put_(tuple(told.places), told.amounts)
    popularity = told.popularity.expand_as(told.model)
    return torch.cat([torch.stack([told.model, told.memory, popularity]), facts])
