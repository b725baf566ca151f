"""Opinions spread out, so that tests can look at all features of all targets."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.model.mixer import ScorerOutputs
from pipeline.state.evidence import FACTS


def features_of(told: ScorerOutputs) -> Tensor:
    """All features ``[f, m, n]``."""
    facts = torch.zeros(len(FACTS), *told.model.shape).index_put_(tuple(told.indices), told.values)
    popularity = told.popularity.expand_as(told.model)
    return torch.cat([torch.stack([told.model, told.covisitation, popularity]), facts])
