"""The ports: what ranks targets, and what learns from histories without any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from pipeline.model.item_table import ItemTable
from pipeline.model.losses import Negatives
from pipeline.model.recommender import Recommender
from pipeline.state.segments import Segment
from pipeline.training.optimizer import Touched


@dataclass(frozen=True)
class Ranking:
    """What m targets are ranked by, in the order of Segments and positions.

    Attributes:
        own: logit of each of some users for one target each, given indices ``[k]`` of both: ``[k]``.
        negative: ``[m, s]`` logits of the users before the targets for the negatives.
        items: ``[m]`` the targets' catalogue rows.
        baskets: ``[m]`` number of the basket of each target, of all Segments.
        types: ``[m]`` index into `TYPES` of each target's act.
        drawn: the negatives.
    """

    own: Callable[[Tensor, Tensor], Tensor]
    negative: Tensor
    items: Tensor
    baskets: Tensor
    types: Tensor
    drawn: Negatives


class Supervised(Protocol):
    """Ranks items by what came next."""

    def losses(self, ranking: Ranking) -> Tensor:
        """Return the loss of each target: ``[m]``."""
        ...


class HistoryBatch(NamedTuple):
    """Histories to learn from, whatever came next; the negatives and the randomness are of their batch."""

    recommender: Recommender
    table: ItemTable
    segments: Sequence[Segment]
    negatives: Negatives
    random: np.random.Generator


class Unsupervised(Protocol):
    """Learns from histories alone."""

    def loss(self, histories: HistoryBatch) -> tuple[Tensor, Touched]:
        """Return the mean loss of the Segments, and the table rows involved."""
        ...
