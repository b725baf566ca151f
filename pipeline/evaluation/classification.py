"""Classification figures: how well probabilities tell yes from no, in bounded memory.

Decisions are counted in cells of equal width on the logit of their probability, so that rare events have as
fine a scale as frequent ones. All figures are exact but for two: a threshold lies at the nearest edge of a
cell, and pairs in one cell count half in the ROC AUC; by how much that can be wrong is one of the figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
FURTHEST = 16.0
"""Logit beyond which probabilities share a cell; that of a probability of 10⁻⁷."""
CELLS = 2_048
CELLS_OF_ONE = CELLS / (2 * FURTHEST)
"""Cells of a logit of one, 64: probabilities in a cell differ by a 64th of themselves at most."""
BINS = 15
"""Bins of the calibration error; as nearly equal in decisions as whole cells allow."""
LEAST = 1e-15
"""Probabilities are kept so far from 0 and 1 that one mistake does not make the log-loss infinite."""


@dataclass(frozen=True)
class ClassificationReport:
    """Figures of n binary decisions; None where they are not defined.

    Attributes:
        n: number of decisions; with a half-life, of those that still count.
        positive: share of the decisions that were yes.
        threshold: probability from which on a decision is predicted to be yes.
        precision: share of the predicted ones that were yes.
        recall: share of those that were yes that were predicted.
        f1: harmonic mean of precision and recall.
        accuracy: share of the decisions that were predicted right.
        roc_auc: probability that one that was yes has the higher probability than one that was not.
        roc_auc_error: by how much this can be wrong, because of pairs in one cell.
        calibration_error: mean distance between probability and share, over bins of equal mass.
        brier: mean squared error of the probability.
        log_loss: mean, in nats.
    """

    n: float
    positive: float | None
    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    accuracy: float | None
    roc_auc: float | None
    roc_auc_error: float | None
    calibration_error: float | None
    brier: float | None
    log_loss: float | None


class Classification:
    """Counts of binary decisions by their predicted probability."""

    def __init__(self, half_life: float | None = None) -> None:
        """Count nothing yet; after `half_life` decisions one counts half, without it all count alike."""
        self._half_life = half_life
        self._yes, self._no, self._sums = (np.zeros(CELLS) for _ in range(3))
        self._brier = self._log_loss = 0.0

    def add(self, probabilities: Floats, labels: Labels) -> None:
        """Add decisions ``[m]``: the predicted probabilities of yes, and whether it was.

        Raises:
            ValueError: a probability is not between 0 and 1.
        """
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            raise ValueError("probabilities are between 0 and 1")
        self._fade(0.5 ** (labels.size / self._half_life) if self._half_life else 1.0)
        within = np.clip(probabilities, LEAST, 1 - LEAST)
        cells = _cells(within)
        self._yes += np.bincount(cells, labels, CELLS)
        self._no += np.bincount(cells, ~labels, CELLS)
        self._sums += np.bincount(cells, probabilities, CELLS)
        self._brier += float(np.square(probabilities - labels).sum())
        self._log_loss -= float(np.log(np.where(labels, within, 1 - within)).sum())

    def report(self, threshold: float | None = None) -> ClassificationReport:
        """Return the figures; without a threshold it is the share of decisions that were yes."""
        yes, no = float(self._yes.sum()), float(self._no.sum())
        n = yes + no
        positive = _ratio(yes, n)
        edge = round(float(_position((positive or 0.0) if threshold is None else threshold)))
        hits, alarms = float(self._yes[edge:].sum()), float(self._no[edge:].sum())
        return ClassificationReport(
            n=n,
            positive=positive,
            threshold=_probability(edge),
            precision=_ratio(hits, hits + alarms),
            recall=_ratio(hits, yes),
            f1=_ratio(2 * hits, hits + alarms + yes),
            accuracy=_ratio(hits + no - alarms, n),
            roc_auc=_ratio(float(self._yes @ (self._no.cumsum() - self._no / 2)), yes * no),
            roc_auc_error=_ratio(float(self._yes @ self._no) / 2, yes * no),
            calibration_error=self._calibration_error() if n else None,
            brier=_ratio(self._brier, n),
            log_loss=_ratio(self._log_loss, n),
        )

    def _fade(self, factor: float) -> None:
        self._yes *= factor
        self._no *= factor
        self._sums *= factor
        self._brier *= factor
        self._log_loss *= factor

    def _calibration_error(self) -> float:
        """Compute the expected calibration error (Naeini et al. 2015)."""
        mass = self._yes + self._no
        middles = (mass.cumsum() - mass / 2) / mass.sum()
        bins = np.minimum((BINS * middles).astype(np.int64), BINS - 1)
        return float(np.abs(np.bincount(bins, self._sums - self._yes)).sum() / mass.sum())


def _position(probability: float | Floats) -> Floats:
    """Where probabilities are on the scale of cells, from 0 to `CELLS`."""
    within = np.clip(np.asarray(probability), LEAST, 1 - LEAST)
    logits = np.log(within) - np.log1p(-within)
    return np.asarray((np.clip(logits, -FURTHEST, FURTHEST) + FURTHEST) * CELLS_OF_ONE)


def _cells(probabilities: Floats) -> NDArray[np.int64]:
    return np.minimum(_position(probabilities).astype(np.int64), CELLS - 1)


def _probability(edge: int) -> float:
    """Return the probability at the lower edge of a cell; 0 of the first, which has all below it."""
    return float(1 / (1 + np.exp(FURTHEST - edge / CELLS_OF_ONE))) if edge else 0.0


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
