"""Experiments: what the arms have earned, and whether one earns more than the control.

Which arm a user is in was drawn by a hash, so users are the units: answers to one user are alike. A user
counts once, with the mean reward of the answers in its first hours in the experiment; the intervals may be
read at any time, as those of off-policy values, because each user's arm is a new draw.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chisquare

from pipeline.evaluation.off_policy.confidence import DIFFERENCES, Interval, LowerBound, Range, Verdict
from pipeline.policy.arms import CONTROL
from pipeline.state.outcomes import Outcome, reciprocal_place

HOUR_MS = 3_600_000
MISMATCH = 1e-3
"""Probability of the numbers of users in the arms, given their shares, below which nothing is said."""


@dataclass
class _User:
    arm: str
    since: int
    rewards: list[float] = field(default_factory=list)
    reciprocal_places: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class ArmResult:
    """What an arm has earned.

    Attributes:
        users: with all their first hours behind them.
        answers: to them, in these hours.
        reward: mean over the users of their mean reward of an answer.
        rewarded: share of the answers with a reward above 0.
        mrr: mean over the answers of 1 / place of the first item with a reward above 0.
        difference: interval of what a user's mean reward is above the control's; None for the control.
        finding: what may be said with an error probability of 5 %, however often one looks.
    """

    arm: str
    users: int
    answers: int
    reward: float
    rewarded: float
    mrr: float
    difference: Interval | None
    finding: Verdict | None


class DifferenceSequence:
    """An interval of the difference between two arms that may be read at any time.

    Each user adds what it got above or below the mean before it, by the inverse probability of its arm. So
    drift does not matter, and neither does what all users get alike.
    """

    def __init__(self, share: float, alpha: float = 0.05) -> None:
        """Compare an arm that gets a share of the users of both with the other one."""
        self._share = share
        least = -1 / min(share, 1 - share)
        self._above, self._below = (LowerBound(alpha / 2, DIFFERENCES, least) for _ in range(2))
        self._count, self._sum = 1.0, 0.5

    def add(self, is_arm: NDArray[np.bool_], rewards: NDArray[np.float64]) -> None:
        """Take in users ``[n]`` in the order of time, with rewards from 0 to 1."""
        before = np.concatenate([[0.0], np.cumsum(rewards)[:-1]])
        means = (self._sum + before) / (self._count + np.arange(rewards.size))
        self._count, self._sum = self._count + rewards.size, self._sum + float(rewards.sum())
        weights = np.where(is_arm, 1 / self._share, -1 / (1 - self._share))
        differences = (rewards - means) * weights
        self._above.add(differences)
        self._below.add(-differences)

    @property
    def interval(self) -> Interval:
        """The interval of the arm's mean less the other's."""
        return Interval(max(self._above.value, -1.0), min(-self._below.value, 1.0))


class Experiment:
    """Gathers the outcomes of an experiment by user."""

    def __init__(self, name: str, hours: float) -> None:
        self._name = name
        self._span = round(hours * HOUR_MS)
        self._users: dict[str, _User] = {}

    @property
    def users(self) -> int:
        """Number of users who were answered."""
        return len(self._users)

    def add(self, outcome: Outcome) -> None:
        """Add an outcome, if it is of this experiment, and in its user's first hours."""
        impression, shown_at = outcome.impression, outcome.shown_at
        if impression.experiment != self._name or impression.arm is None:
            return
        user = self._users.setdefault(impression.user, _User(impression.arm, shown_at))
        if shown_at < user.since + self._span:
            user.rewards.append(sum(outcome.rewards))
            user.reciprocal_places.append(reciprocal_place(outcome.rewards))

    def results(self, shares: Mapping[str, float], rewards: Range, until: int) -> list[ArmResult]:
        """Compare the arms, by the users whose first hours have passed at a time in ms.

        Args:
            shares: of the users, by arm; the control's, too.
            rewards: what an answer's reward is at least and at most; others are taken as these.
        """
        complete = [user for user in self._users.values() if user.since + self._span <= until]
        complete.sort(key=lambda user: user.since)
        by_arm: defaultdict[str, list[_User]] = defaultdict(list)
        for user in complete:
            by_arm[user.arm].append(user)
        fits = _fits({arm: len(by_arm[arm]) for arm in shares}, shares)
        return [self._result(arm, by_arm[arm], complete, shares, rewards, fits=fits) for arm in shares]

    def _result(
        self,
        arm: str,
        own: list[_User],
        complete: list[_User],
        shares: Mapping[str, float],
        rewards: Range,
        *,
        fits: bool,
    ) -> ArmResult:
        answers = [reward for user in own for reward in user.rewards]
        reciprocals = [reciprocal for user in own for reciprocal in user.reciprocal_places]
        difference = None if arm == CONTROL else _difference(arm, complete, shares, rewards)
        return ArmResult(
            arm,
            len(own),
            len(answers),
            float(np.mean([np.mean(user.rewards) for user in own])) if own else 0.0,
            float(np.mean(np.array(answers) > 0)) if answers else 0.0,
            float(np.mean(reciprocals)) if reciprocals else 0.0,
            difference,
            None if difference is None else (difference.verdict if fits else Verdict.MISMATCH),
        )


def _difference(arm: str, complete: Iterable[_User], shares: Mapping[str, float], rewards: Range) -> Interval:
    both = [user for user in complete if user.arm in (arm, CONTROL)]
    width = rewards.most - rewards.least
    means = np.array([np.clip(user.rewards, *rewards).mean() for user in both], dtype=np.float64)
    sequence = DifferenceSequence(shares[arm] / (shares[arm] + shares[CONTROL]))
    is_arm = np.array([user.arm == arm for user in both], dtype=np.bool_)
    sequence.add(is_arm, (means - rewards.least) / width)
    return Interval(*(width * end for end in sequence.interval))


def _fits(counts: Mapping[str, int], shares: Mapping[str, float]) -> bool:
    """Whether the numbers of users are what the shares would give (Fabijan et al. 2019)."""
    observed, total = np.array([*counts.values()]), sum(counts.values())
    if total == 0:
        return True
    expected = total * np.array([*shares.values()]) / sum(shares.values())
    return bool(chisquare(observed, expected).pvalue >= MISMATCH)
