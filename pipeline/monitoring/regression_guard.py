"""The guard: whether what serves has fallen behind a plain baseline, so that it must be taken back.

The guarded figure is the log-probability of the mixture less that of the memory baseline on
the same events. When the world changes both suffer; when the weights have gone wrong only
the mixture does. Means of blocks are compared, because events of one basket go together, by
Welch's test (1947), with levels small enough for a test after every batch.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from pipeline.config import GuardConfig
from pipeline.evaluation.prequential import Scores


class Fall(NamedTuple):
    """The guarded figure before and after, in nats, and the version to return to."""

    before: float
    after: float
    version: str


class GuardState(TypedDict):
    """Everything that a guard holds."""

    reference: list[float]
    recent: list[tuple[float, str]]
    rest: list[float]
    probation: str | None


class Guard:
    """Compares recent blocks with those before them, or, after a promotion, with those before that."""

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._reference: list[float] = []
        self._recent: list[tuple[float, str]] = []
        self._rest: list[float] = []
        self._probation: str | None = None

    def update(self, version: str, scores: Scores) -> Fall | None:
        """Take in what the model of a version said of a batch; the fall that it completes, if any."""
        if scores.quarantined and self._probation is not None:
            return self._fallen(Fall(_mean(self._reference), float("-inf"), self._probation))
        self._add(version, _leads(scores))
        recent = np.array([mean for mean, _ in self._recent])
        enough = self._config.first if self._probation else self._config.recent
        if recent.size < enough or len(self._reference) < self._config.fewest:
            return None
        fall = Fall(_mean(self._reference), float(recent.mean()), self._probation or self._recent[0][1])
        return self._fallen(fall) if self._is_worse(recent, fall) else None

    def promoted(self, left: str) -> None:
        """From here on another model is tried; `left` is the version to return to."""
        self._age(0)
        self._rest, self._probation = [], left

    def returned(self) -> None:
        """What was tried is gone, and what it did says nothing any more."""
        self._recent, self._rest, self._probation = [], [], None

    def state(self) -> GuardState:
        """Everything, as plain data that later updates leave alone."""
        return {
            "reference": list(self._reference),
            "recent": list(self._recent),
            "rest": list(self._rest),
            "probation": self._probation,
        }

    def load(self, state: GuardState) -> None:
        """Take over what `state` gave."""
        self._reference, self._rest = list(state["reference"]), list(state["rest"])
        self._recent = [(mean, version) for mean, version in state["recent"]]
        self._probation = state["probation"]

    def _add(self, version: str, values: NDArray[np.float64]) -> None:
        block, told = self._config.block, [*self._rest, *values.tolist()]
        whole = len(told) // block * block
        self._rest = told[whole:]
        self._recent += [(_mean(told[start : start + block]), version) for start in range(0, whole, block)]
        if self._probation is None:
            self._age(self._config.recent)
        elif len(self._recent) >= self._config.probation:
            self._probation = None
            self._age(0)

    def _age(self, keep: int) -> None:
        """What is no longer recent says what is usual."""
        past = len(self._recent) - keep
        if past > 0:
            self._reference += [mean for mean, _ in self._recent[:past]]
            self._recent = self._recent[past:]
        self._reference = self._reference[-self._config.reference :]

    def _is_worse(self, recent: NDArray[np.float64], fall: Fall) -> bool:
        if fall.before - fall.after < self._config.least:
            return False
        test = ttest_ind(recent, np.array(self._reference), equal_var=False, alternative="less")
        return bool(test.pvalue < self._config.level)

    def _fallen(self, fall: Fall) -> Fall:
        self.returned()
        return fall


def _leads(scores: Scores) -> NDArray[np.float64]:
    """Nats by which the mixture foresaw each event better than the memory baseline."""
    mixture, covisitation = scores.by_scorer["mixture"], scores.by_scorer["covisitation"]
    leads = mixture.log_probabilities - covisitation.log_probabilities
    return leads[np.isfinite(leads)]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
