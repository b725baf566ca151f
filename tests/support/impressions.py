"""Impressions for tests, without the ceremony."""

from __future__ import annotations

from typing import Any

from pipeline.events import Impression
from pipeline.policy.port import Policy
from pipeline.rules.slate import Slate


def impression(
    name: str = "a", user: str = "ann", items: tuple[str, ...] = ("mug", "cup"), **others: Any
) -> Impression:
    """Items that were shown to a user; other fields as `Impression` has them."""
    return Impression(
        impression_id=name,
        user=user,
        snapshot="1-1",
        time=0,
        items=items,
        scores=(0.5,) * len(items),
        offsets={},
        **others,
    )


def drawn_by(policy: Policy, slate: Slate) -> dict[str, Any]:
    """The fields of an impression that say what a policy did."""
    return {
        "policy": policy.name,
        "policy_version": policy.version,
        "propensities": tuple(slate.propensities),
        "pool": slate.drawn.pool,
        "shadows": {name: tuple(values) for name, values in slate.shadows().items()},
    }
