"""Experiments: what the arms have earned, and whether one earns more than the control.

Which arm a user is in was drawn by a hash, so users are the units: answers to one user are alike. A user
counts once, with the mean reward of the answers in its first hours in the experiment; the intervals may be
read at any time, as those of off-policy values, because each user's arm is a new draw. Answers of another
policy than the arm has count for nothing, and as who got them was not drawn, the arm is not compared then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chisquare

from pipeline.evaluation.off_policy.confidence import DIFFERENCES, Interval, LowerBound, Range, Verdict
from pipeline.events import Impression
from pipeline.policy.arms import CONTROL, Arms
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
    others: int = 0


@dataclass(frozen=True)
class ArmResult:
    """What an arm has earned.

    Attributes:
        users: with all their first hours behind them.
        answers: to them, in these hours, of the policy that the arm has.
        others: answers to them, in these hours, of another policy, or of one with other parameters.
        reward: mean over the users of their mean reward of an answer; as the next two, None without users.
        rewarded: share of the answers with a reward above 0.
        mrr: mean over the answers of 1 / place of the first item with a reward above 0.
        difference: interval of what a user's mean reward is above the control's; None for the control, and
            where there is nothing to compare.
        finding: what may be said with an error probability of 5 %, however often one looks.
    """

    arm: str
    users: int
    answers: int
    others: int
    reward: float | None
    rewarded: float | None
    mrr: float | None
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

    def __init__(self, arms: Arms, hours: float, since: int = 0) -> None:
        """Begin without outcomes.

        Args:
            arms: of the experiment.
            hours: after a user's first answer in it, which count.
            since: time in ms; users whose first answer is earlier do not count.
        """
        self._name, self._shares, self._policies = arms.experiment, arms.shares, arms.policies
        self._span, self._since = round(hours * HOUR_MS), since
        self._users: dict[str, _User] = {}

    def add(self, outcome: Outcome) -> None:
        """Add an outcome, if it is of this experiment, and in its user's first hours."""
        impression, shown_at = outcome.impression, outcome.shown_at
        user = self._user_of(impression, shown_at)
        if user is None or shown_at >= user.since + self._span:
            return
        if self._is_of(user.arm, impression):
            user.rewards.append(sum(outcome.rewards))
            user.reciprocal_places.append(reciprocal_place(outcome.rewards))
        else:
            user.others += 1

    def add_open(self, impression: Impression, shown_at: int) -> None:
        """Add an answer of which more may come: its user waits, even if it is the first one."""
        self._user_of(impression, shown_at)

    def _user_of(self, impression: Impression, shown_at: int) -> _User | None:
        """Return the user of an answer, who may begin with it; None if it is of no arm of this experiment."""
        if impression.experiment != self._name or impression.arm is None:
            return None
        return self._users.setdefault(impression.user, _User(impression.arm, shown_at))

    def _is_of(self, arm: str, impression: Impression) -> bool:
        """Whether an answer is of the policy that an arm has, with its parameters."""
        policy = self._policies.get(arm)
        drawn_by = impression.arm, impression.policy, impression.policy_version
        return policy is not None and drawn_by == (arm, policy.name, policy.version)

    def waiting(self, until: int) -> int:
        """Return how many users of the arms are still in their first hours at a time in ms."""
        return sum(user.since + self._span > until for user in self._counting())

    def _counting(self) -> Iterator[_User]:
        """Yield the users who count."""
        for user in self._users.values():
            if user.arm in self._shares and user.since >= self._since:
                yield user

    def results(self, rewards: Range, until: int) -> list[ArmResult]:
        """Compare the arms, by the users whose first hours have passed at a time in ms.

        Args:
            rewards: what an answer's reward is at least and at most; others are taken as these.
        """
        complete = [user for user in self._counting() if user.since + self._span <= until]
        complete.sort(key=lambda user: user.since)
        counts = Counter(user.arm for user in complete)
        fits = _fits({arm: counts[arm] for arm in self._shares}, self._shares)
        return [self._result(arm, complete, rewards, fits=fits) for arm in self._shares]

    def _result(self, arm: str, complete: Sequence[_User], rewards: Range, *, fits: bool) -> ArmResult:
        of_arm = [user for user in complete if user.arm == arm]
        own = [user for user in of_arm if user.rewards]
        answers = [reward for user in own for reward in user.rewards]
        reciprocals = [reciprocal for user in own for reciprocal in user.reciprocal_places]
        difference, finding = None, None
        if arm != CONTROL:
            difference, finding = self._compared(arm, complete, rewards, fits=fits)
        return ArmResult(
            arm,
            len(own),
            len(answers),
            sum(user.others for user in of_arm),
            float(np.mean([np.mean(user.rewards) for user in own])) if own else None,
            float(np.mean(np.array(answers) > 0)) if own else None,
            float(np.mean(reciprocals)) if own else None,
            difference,
            finding,
        )

    def _compared(
        self, arm: str, complete: Sequence[_User], rewards: Range, *, fits: bool
    ) -> tuple[Interval | None, Verdict]:
        """Compare an arm with the control, if both have users, and each the answers of one policy."""
        both = [user for user in complete if user.arm in (arm, CONTROL)]
        if any(user.others for user in both):
            return None, Verdict.UNKNOWN
        if len({user.arm for user in both}) < 2:
            return None, Verdict.UNKNOWN if fits else Verdict.MISMATCH
        difference = _difference(arm, both, self._shares, rewards)
        return difference, difference.verdict if fits else Verdict.MISMATCH


def _difference(arm: str, both: Sequence[_User], shares: Mapping[str, float], rewards: Range) -> Interval:
    """Compare the users of an arm and of the control, who are in the order of their first answers."""
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
