"""The objectives that the settings choose, and their mixture."""

from __future__ import annotations

from torch import Tensor

from pipeline.config import ObjectiveConfig
from pipeline.state.segments import TYPE_NUMBERS
from pipeline.training.objectives.contrastive import Contrastive
from pipeline.training.objectives.masked_item import MaskedItem
from pipeline.training.objectives.port import HistoryBatch, Supervised, Unsupervised
from pipeline.training.objectives.ranking import BasketItems, NextItem, TypeObjectives
from pipeline.training.optimizer import Touched

UNSUPERVISED: dict[str, Unsupervised] = {"contrastive": Contrastive(), "masked_item": MaskedItem()}


def supervised_of(config: ObjectiveConfig) -> Supervised:
    """Return what ranks by the settings."""
    types = [TYPE_NUMBERS[kind] for kind in config.basket_types]
    return TypeObjectives(types, BasketItems(), NextItem()) if types else NextItem()


def mixed(
    alpha: float, supervised: Tensor, unsupervised: Unsupervised, histories: HistoryBatch
) -> tuple[Tensor, list[Touched]]:
    """Return α·L_uns + (1 − α)·L_sup, and the table rows that L_uns involves; with α = 0 it costs nothing."""
    if alpha == 0:
        return supervised, []
    loss, touched = unsupervised.loss(histories)
    return alpha * loss + (1 - alpha) * supervised, [touched]
