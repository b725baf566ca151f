"""The regression guard: detects that what serves has become worse than it was, by its own fault.

Two figures of the mixture must have fallen: its log-probability of the events above chance, against
its own past on like events (first of a basket or not, cold item or not), and its lead, which is the
same minus the log-probability of the covisitation baseline on the same events. Either alone misleads:
when the world changes, the first falls though nothing is wrong with the weights; while
covisitation warms up, the lead falls though the mixture is as good as ever. And the lead must have lost
nearly as much as the log-probability: a changed world takes from both scorers, most from the better one,
and so takes some of the lead as well; weights that went wrong cost covisitation nothing. Above chance,
because the log-probability itself falls while the catalogue grows.

Means of blocks are compared, because events of one basket depend on each other, by Welch's test
(1947), with a level small enough for a test after every batch.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import stdtr
from typing_extensions import TypedDict

from pipeline.bounded import VersionText
from pipeline.config import GuardConfig
from pipeline.config.monitoring import FEWEST_ALIKE
from pipeline.evaluation.prequential import Scores
from pipeline.monitoring.chance import above_chance

LIKE = 4
"""Kinds of like events: first of a basket or within it, of a cold item or a warm one."""
OWN_SHARE = 0.8
"""Least part of a fall that is of the lead as well. When the simulated shop changes it is .53 at most, with
random weights in place of the learned ones at least .9 (`python -m benchmarks.guard`)."""
FEWEST_BLOCKS = 2
"""Blocks with events that are compared, of either side: one alone has no variance."""

Floats = NDArray[np.float64]
Block = Floats
"""``[3, LIKE]``: number of events, and sums of what mixture and covisitation gave them, by kind."""


class Fall(NamedTuple):
    """Means before and after a fall, in nats, and the version to return to.

    Attributes:
        before, after: log-probability of the mixture above chance; before, of events like those after.
        lead_before, lead_after: the same minus that of covisitation.
    """

    before: float
    after: float
    lead_before: float
    lead_after: float
    version: str


StoredEvent = Annotated[list[float], Field(min_length=3, max_length=3)]
StoredBlock = Annotated[
    list[Annotated[list[float], Field(min_length=LIKE, max_length=LIKE)]], Field(min_length=3, max_length=3)
]


class GuardState(TypedDict):
    """The whole state of a guard; of the rest, `_events` of each."""

    reference: list[StoredBlock]
    recent: list[tuple[StoredBlock, VersionText]]
    rest: list[StoredEvent]
    probation: VersionText | None
    proven: bool
    fallen: bool


class Guard:
    """Compares recent blocks with those before them, or, after a promotion, with those before it.

    While what serves has fallen, the reference stays as it is, so that a fall does not become
    what is usual only because nothing was done about it.
    """

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._reference: list[Block] = []
        self._recent: list[tuple[Block, str]] = []
        self._rest = np.zeros((0, 3))
        self._probation: str | None = None
        self._proven = False
        self._fallen = False

    @property
    def is_proven(self) -> bool:
        """Whether the last batch ended a probation without a fall."""
        return self._proven

    def update(self, version: str, scores: Scores, items: int) -> Fall | None:
        """Update with a version's scores of a batch, among `items`; return the fall that there is, if any."""
        self._proven = False
        if scores.quarantined and self._probation is not None:
            before, lead_before = _means(self._reference)
            return Fall(before, float("-inf"), lead_before, float("-inf"), self._probation)
        self._add(version, _events(scores, items))
        fall = self._find_fall()
        self._fallen = fall is not None
        return fall

    def promoted(self, left: str) -> None:
        """Put a promoted model on probation; `left` is the version to return to."""
        if self._fallen:
            self._recent = []
        self._age(0)
        self._rest, self._probation, self._fallen = np.zeros((0, 3)), left, False

    def returned(self) -> None:
        """Drop the recent blocks, because the model they are about is gone."""
        self._recent, self._rest, self._probation = [], np.zeros((0, 3)), None
        self._proven = self._fallen = False

    def forget(self) -> None:
        """Drop all blocks: whatever comes next is what is usual."""
        self._reference = []
        self.returned()

    def state(self) -> GuardState:
        """Return the whole state as plain data that later updates do not change."""
        return {
            "reference": [block.tolist() for block in self._reference],
            "recent": [(block.tolist(), version) for block, version in self._recent],
            "rest": self._rest.tolist(),
            "probation": self._probation,
            "proven": self._proven,
            "fallen": self._fallen,
        }

    def load(self, state: GuardState) -> None:
        """Load what `state` returned.

        Raises:
            ValueError: it is no such state.
        """
        if any(kind not in range(LIKE) for kind, *_ in state["rest"]):
            raise ValueError("the guard knows no such kind of event")
        self._reference = [np.array(block) for block in state["reference"]]
        self._recent = [(np.array(block), version) for block, version in state["recent"]]
        self._rest = np.array(state["rest"]).reshape(-1, 3)
        self._probation, self._proven = state["probation"], state["proven"]
        self._fallen = state["fallen"]

    def _add(self, version: str, events: Floats) -> None:
        size, events = self._config.block, np.concatenate([self._rest, events])
        whole = len(events) // size * size
        self._rest = events[whole:]
        self._recent += [(_block(events[start : start + size]), version) for start in range(0, whole, size)]
        if self._probation is None:
            self._age(self._config.recent)
        elif len(self._recent) >= self._config.probation:
            self._probation, self._proven = None, True
            self._age(0)

    def _age(self, keep: int) -> None:
        """Move all but the last `keep` recent blocks to the reference; drop them while fallen."""
        past = len(self._recent) - keep
        if past > 0:
            if not self._fallen:
                self._reference += [block for block, _ in self._recent[:past]]
            self._recent = self._recent[past:]
        self._reference = self._reference[-self._config.reference :]

    def _find_fall(self) -> Fall | None:
        enough = self._config.first if self._probation else self._config.recent
        if len(self._recent) < enough or len(self._reference) < self._config.fewest:
            return None
        recent, reference = np.array([block for block, _ in self._recent]), np.array(self._reference)
        after, before = _compare(recent, reference)
        if min(after.shape[1], before.shape[1]) < FEWEST_BLOCKS:
            return None
        fall, lead_fall = (before.mean(axis=1) - after.mean(axis=1)).tolist()
        if lead_fall < OWN_SHARE * fall:
            return None
        if not (self._is_worse(after[0], before[0]) and self._is_worse(after[1], before[1])):
            return None
        now, lead = _totals(recent)
        version = self._probation or self._recent[0][1]
        return Fall(now - float(after[0].mean()), now, lead - float(after[1].mean()), lead, version)

    def _is_worse(self, recent: Floats, reference: Floats) -> bool:
        if reference.mean() - recent.mean() < self._config.least:
            return False
        return _chance_of_less(recent, reference) < self._config.level


def _compare(recent: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Compute how far each block is above the mean of like events in the reference, in nats.

    Args:
        recent, reference: ``[blocks, 3, LIKE]``.

    Returns:
        For recent and for reference, ``[2, blocks]``: of the mixture, and of its lead.
    """
    counts, *sums = reference.sum(axis=0)
    means = np.stack(sums) / np.maximum(counts, 1)
    known = counts >= FEWEST_ALIKE

    def above(blocks: Floats) -> Floats:
        n = blocks[:, 0, known]
        gaps = (blocks[:, 1:, known] - n[:, None] * means[:, known]).sum(axis=2)
        alike = n.sum(axis=1)
        mixture, covisitation = gaps[alike > 0].T / alike[alike > 0]
        return np.stack([mixture, mixture - covisitation])

    return above(recent), above(reference)


def _chance_of_less(one: Floats, other: Floats) -> float:
    """Return the p-value of Welch's test for a smaller mean of `one`; scipy takes 30 times as long."""
    errors = one.var(ddof=1) / one.size, other.var(ddof=1) / other.size
    error = sum(errors)
    if error == 0:
        return 0.0 if one.mean() < other.mean() else 1.0
    freedom = error**2 / (errors[0] ** 2 / (one.size - 1) + errors[1] ** 2 / (other.size - 1))
    return float(stdtr(freedom, (one.mean() - other.mean()) / np.sqrt(error)))


def _events(scores: Scores, items: int) -> Floats:
    """Describe the events whose log-probabilities are finite: ``[m, 3]``.

    Their kind, the log-probability of the mixture above chance, and that of covisitation.
    """
    mixture = above_chance(scores.by_scorer["mixture"], items)
    covisitation = scores.by_scorer["covisitation"].log_probabilities
    kinds = 2 * scores.slices["first_of_basket"] + scores.slices["cold"]
    finite = np.isfinite(mixture) & np.isfinite(covisitation)
    return np.column_stack([kinds, mixture, covisitation])[finite]


def _block(events: Floats) -> Block:
    kinds = events[:, 0].astype(np.int64)
    figures = (None, events[:, 1], events[:, 2])
    return np.stack([np.bincount(kinds, figure, minlength=LIKE) for figure in figures])


def _means(blocks: list[Block]) -> tuple[float, float]:
    return _totals(np.array(blocks)) if blocks else (float("nan"), float("nan"))


def _totals(blocks: Floats) -> tuple[float, float]:
    """Mean log-probability of the mixture above chance, and mean lead, over blocks ``[b, 3, LIKE]``."""
    count, mixture, covisitation = blocks.sum(axis=(0, 2)).tolist()
    return mixture / count, (mixture - covisitation) / count
