"""The regression guard: detects that the served model has fallen behind a plain baseline.

The guarded figure, the lead, is the log-probability of the mixture minus that of the
covisitation baseline on the same events. When the world changes both get worse; when the
weights have gone wrong only the mixture does. Means of blocks are compared, because events of
one basket depend on each other, by Welch's test (1947), with a level small enough for a test
after every batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_ind
from typing_extensions import TypedDict

from pipeline.config import GuardConfig
from pipeline.evaluation.prequential import Scores


class Fall(NamedTuple):
    """The mean lead before and after a fall, in nats, and the version to return to."""

    before: float
    after: float
    version: str


class GuardState(TypedDict):
    """The whole state of a guard."""

    reference: list[float]
    recent: list[tuple[float, str]]
    rest: list[float]
    probation: str | None


class Guard:
    """Compares recent blocks with those before them, or, after a promotion, with those before it."""

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._reference: list[float] = []
        self._recent: list[tuple[float, str]] = []
        self._rest: list[float] = []
        self._probation: str | None = None

    def update(self, version: str, scores: Scores) -> Fall | None:
        """Update with the scores of a batch by a version; return the fall that it completes, if any."""
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
        """Put a promoted model on probation; `left` is the version to return to."""
        self._age(0)
        self._rest, self._probation = [], left

    def returned(self) -> None:
        """Drop the recent blocks, because the model they are about is gone."""
        self._recent, self._rest, self._probation = [], [], None

    def state(self) -> GuardState:
        """Return the whole state as plain data that later updates do not change."""
        return {
            "reference": list(self._reference),
            "recent": list(self._recent),
            "rest": list(self._rest),
            "probation": self._probation,
        }

    def load(self, state: GuardState) -> None:
        """Load what `state` returned."""
        self._reference, self._rest = list(state["reference"]), list(state["rest"])
        self._recent = [(mean, version) for mean, version in state["recent"]]
        self._probation = state["probation"]

    def _add(self, version: str, values: NDArray[np.float64]) -> None:
        block, leads = self._config.block, [*self._rest, *values.tolist()]
        whole = len(leads) // block * block
        self._rest = leads[whole:]
        self._recent += [(_mean(leads[start : start + block]), version) for start in range(0, whole, block)]
        if self._probation is None:
            self._age(self._config.recent)
        elif len(self._recent) >= self._config.probation:
            self._probation = None
            self._age(0)

    def _age(self, keep: int) -> None:
        """Move all but the last `keep` recent blocks to the reference."""
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
    """Nats by which the mixture predicted each event better than the covisitation baseline."""
    mixture, covisitation = scores.by_scorer["mixture"], scores.by_scorer["covisitation"]
    leads = mixture.log_probabilities - covisitation.log_probabilities
    return leads[np.isfinite(leads)]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
