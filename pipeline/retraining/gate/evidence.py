"""What goes into the Gate and what comes out: evidence on both contenders, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat


@dataclass(frozen=True)
class SharedTargets:
    """What both contenders were tried on: m targets that neither had learned.

    Attributes:
        users: ``[m]`` numbers of the users; only which are equal matters.
        slices: ``[m]`` masks by slice; the Gate guards each of them. "all" is always all.

    Raises:
        ValueError: a mask is not of m targets.
    """

    users: NDArray[np.int64]
    slices: Mapping[str, NDArray[np.bool_]]

    def __post_init__(self) -> None:
        if any(mask.shape != self.users.shape for mask in self.slices.values()):
            raise ValueError("masks of slices are not of as many targets as there are users' numbers")


@dataclass(frozen=True)
class ModelRun:
    """What one contender did.

    Attributes:
        log_loss: ``[m]`` in nats.
        ndcg: ``[m]`` between 0 and 1.
        lists: ``[p, k]`` catalogue rows recommended at the end to p probe users, the same users
            in the same order for both contenders; no row twice in a list.
        seconds: spent on scoring the targets.
        bytes: size of the learned state.

    Raises:
        ValueError: the figures are not of as many targets each, or a cost is not above zero.
    """

    log_loss: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    lists: NDArray[np.int64]
    seconds: float
    bytes: int

    def __post_init__(self) -> None:
        if self.log_loss.shape != self.ndcg.shape:
            raise ValueError("log-loss and NDCG are not of as many targets")
        if not (0 < self.seconds < np.inf and self.bytes > 0):
            raise ValueError("seconds and bytes must be above zero")


class Outcome(StrEnum):
    """What becomes of a candidate."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    TOO_FEW = "too_few"
    """Not enough evidence to look at. It may be judged again when there is more: amounts alone
    led here, so the second look is a first one, and the confidence holds."""


class GateVerdict(BaseModel):
    """What was decided, and from what.

    Attributes:
        reasons: of a promotion, all checks; else those that failed, each with value and bound.
        figures: by name, `<figure>.<slice>.<part>` where there are slices. A gain is positive
            where the candidate is better. A slice that was not judged has no gains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome
    reasons: list[str]
    figures: dict[str, FiniteFloat]
