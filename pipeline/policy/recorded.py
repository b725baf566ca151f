"""What policies that impressions name could have drawn."""

from __future__ import annotations

from functools import lru_cache

from pipeline.errors import InvalidEvent
from pipeline.events import Impression
from pipeline.policy.draws import BITS
from pipeline.policy.policies import EpsilonGreedy, recorded_policy
from pipeline.policy.port import Policy

LEAST_PROPENSITY = 2.0**-BITS
"""The random numbers of draws tell no smaller probability from none."""
ROUNDING = 1e-9
"""By how much of itself a propensity may differ from what it should be."""


@lru_cache(64)
def known_policy(name: str | None, version: str | None) -> Policy | None:
    """Make the policy that an impression names; None if it names none that this release has."""
    try:
        return recorded_policy(name or "", version or "")
    except ValueError:
        return None


def least_propensity(policy: Policy, pool: int) -> float:
    """Return the least probability with which a policy draws one of a pool.

    >>> least_propensity(EpsilonGreedy(explored_places=3, pool=50, epsilon=0.1), 20)
    0.005
    """
    epsilon: float = getattr(policy, "epsilon", 0.0)
    draws = policy.explored_places > 0 and (epsilon > 0 or not isinstance(policy, EpsilonGreedy))
    return max(epsilon / max(pool, 1), LEAST_PROPENSITY) if draws and pool else 1.0


def check_propensities(impression: Impression) -> None:
    """Check that the policy of an impression could have drawn what it showed.

    Of a policy that this release does not have, only the smallest probability of any draw is known.

    Raises:
        InvalidEvent: it could not.
    """
    propensities, pool = impression.propensities, impression.pool or 0
    if propensities is None:
        return
    policy = known_policy(impression.policy, impression.policy_version)
    least = LEAST_PROPENSITY if policy is None else least_propensity(policy, pool)
    if min(propensities) < least * (1 - ROUNDING):
        raise InvalidEvent("propensities", "one is less than the policy gives to any item of the pool")
    if policy is None:
        return
    if pool > policy.pool:
        raise InvalidEvent("pool", "is larger than the policy's")
    if sum(propensity < 1 - ROUNDING for propensity in propensities) > policy.explored_places:
        raise InvalidEvent("propensities", "the policy draws fewer places")
