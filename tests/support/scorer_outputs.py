"""Dense features from ScorerOutputs, for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.model.mixer import ScorerOutputs
from pipeline.state.evidence import FACTS


def features_of(outputs: ScorerOutputs) -> Tensor:
    """Return all features, including zeros, ``[f, m, n]``."""
    facts = torch.zeros(len(FACTS), *outputs.model.shape).index_put_(tuple(outputs.indices), outputs.values)
    return torch.cat([torch.stack([column.expand_as(outputs.model) for column in outputs.dense]), facts])
