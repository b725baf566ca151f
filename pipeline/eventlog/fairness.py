"""Divide one poll among partitions, so that a busy partition cannot starve a quiet one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def fair_shares(available: Mapping[K, int], total: int) -> dict[K, int]:
    """Divide `total` records equally; shares that a partition cannot fill go to the others.

    With fewer records than partitions only the first partitions get one: rotate the order
    between calls.

    >>> fair_shares({"busy": 1000, "quiet": 3, "idle": 0}, 10)
    {'busy': 7, 'quiet': 3, 'idle': 0}
    """
    shares = dict.fromkeys(available, 0)
    unfilled = [key for key, count in available.items() if count]
    while unfilled and total:
        share = -(-total // len(unfilled))  # rounded up, so that the loop ends
        for key in unfilled:
            taken = min(share, available[key] - shares[key], total)
            shares[key] += taken
            total -= taken
        unfilled = [key for key in unfilled if shares[key] < available[key]]
    return shares
