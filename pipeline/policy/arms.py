"""Arms of an experiment: which policy makes the slates of a user."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.config import PolicyConfig
from pipeline.policy.changes import PolicyChange
from pipeline.policy.draws import NO_POLICIES
from pipeline.policy.policies import GREEDY, make_policy, make_shadows
from pipeline.policy.port import Policy

CONTROL = "control"
"""The arm of the policy that is used without an experiment."""
BITS = 64


class Arm(NamedTuple):
    """A policy, the policies whose propensities are recorded beside its own, and the users that get it.

    Attributes:
        share: of all users.
    """

    name: str
    policy: Policy
    shadows: Mapping[str, Policy] = NO_POLICIES
    share: float = 1.0


class Arms:
    """The arms of an experiment, or the one of no experiment.

    Attributes:
        experiment: its name; None without one.
    """

    def __init__(self, arms: Sequence[Arm], experiment: str | None = None) -> None:
        self.experiment = experiment
        self._arms = arms

    @property
    def shares(self) -> dict[str, float]:
        """Share of the users of each arm."""
        return {arm.name: arm.share for arm in self._arms}

    @property
    def policies(self) -> dict[str, Policy]:
        """Policy of each arm."""
        return {arm.name: arm.policy for arm in self._arms}

    @property
    def ranking_by_values(self) -> set[str]:
        """The learners of values by which some users' slates are ranked."""
        return {arm.policy.ranks_by for arm in self._arms if arm.policy.ranks_by is not None}

    def of(self, user: str) -> Arm:
        """Return the arm of a user: always the same one in an experiment, and another draw in the next.

        >>> Arms([Arm("control", GREEDY)]).of("ann").name
        'control'
        """
        if self.experiment is None:
            return self._arms[0]
        digest = hashlib.blake2b(user.encode(), key=_key(self.experiment), digest_size=8).digest()
        left = int.from_bytes(digest, "little") / 2**BITS
        for arm in self._arms:
            left -= arm.share
            if left < 0:
                return arm
        return self._arms[0]


def _key(experiment: str) -> bytes:
    """Return a name in bytes, or a digest of one that is too long for a key: it may differ in its end."""
    name = experiment.encode()
    return name if len(name) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.blake2b(name).digest()


GREEDY_ALONE = Arms([Arm(CONTROL, GREEDY)])


def has_ended(config: PolicyConfig, promotion: PolicyChange | None) -> bool:
    """Whether the experiment of the settings has ended, by the promotion that is in use."""
    return promotion is not None and promotion.ends == config.experiment


def make_arms(config: PolicyConfig, promotion: PolicyChange | None = None) -> Arms:
    """Make the arms that the settings name; the control comes first.

    A policy that was promoted takes the place of the settings' own, and ends the experiment that ran.
    """
    used = config if promotion is None else promotion.parameters
    is_over = has_ended(config, promotion)
    others = [
        Arm(name, make_policy(arm), make_shadows(config, arm), arm.share)
        for name, arm in config.arms.items()
        if not is_over
    ]
    share = 1 - sum(arm.share for arm in others)
    control = Arm(CONTROL, make_policy(used), make_shadows(config, used), share)
    return Arms([control, *others], config.experiment if others else None)
