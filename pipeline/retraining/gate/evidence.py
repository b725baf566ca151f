"""Input and output of the Gate: evidence on champion and candidate, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat


@dataclass(frozen=True)
class SharedTargets:
    """The m targets that champion and candidate are compared on; neither had learned them.

    Attributes:
        users: ``[m]`` user numbers; only their equality matters.
        slices: ``[m]`` masks by slice; the Gate checks each of them. "all" always means all targets.

    Raises:
        ValueError: a mask does not have m entries.
    """

    users: NDArray[np.int64]
    slices: Mapping[str, NDArray[np.bool_]]

    def __post_init__(self) -> None:
        if any(mask.shape != self.users.shape for mask in self.slices.values()):
            raise ValueError("the masks of slices do not have one entry per target")


@dataclass(frozen=True)
class ModelRun:
    """The results of one model, champion or candidate.

    Attributes:
        log_loss: ``[m]`` in nats.
        ndcg: ``[m]`` between 0 and 1.
        lists: ``[p, k]`` catalogue rows recommended at the end to p probe users, the same users
            in the same order for both models; no row twice in a list.
        seconds: time spent on scoring the targets.
        bytes: size of the learned state.
        spread: further figures of the lists, see `pipeline.evaluation.lists`; only reported.

    Raises:
        ValueError: the figures differ in the number of targets, or a cost is not above zero.
    """

    log_loss: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    lists: NDArray[np.int64]
    seconds: float
    bytes: int
    spread: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.log_loss.shape != self.ndcg.shape:
            raise ValueError("log-loss and NDCG differ in the number of targets")
        if not (0 < self.seconds < np.inf and self.bytes > 0):
            raise ValueError("seconds and bytes must be above zero")


class GateOutcome(StrEnum):
    """The outcome for a candidate."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    TOO_FEW = "too_few"
    """Too little evidence to compare. The candidate may be judged again with more: this outcome
    depends on sample sizes alone, so the later comparison is the first one and its confidence
    holds."""


class GateVerdict(BaseModel):
    """The outcome, its reasons, and the figures behind it.

    Attributes:
        reasons: all checks for a promotion, else the failed ones, each with value and bound.
        figures: by name, `<figure>.<slice>.<part>` where there are slices. A gain is positive
            if the candidate is better. A slice that was not checked has no gains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: GateOutcome
    reasons: list[str]
    figures: dict[str, FiniteFloat]
