"""How one poll is shared among partitions, so that a busy one cannot starve a quiet one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def fair_shares(available: Mapping[K, int], total: int) -> dict[K, int]:
    """Share `total` records out: equally, and what one leaves over goes to the others.

    Where there are fewer records than partitions, the first in order win: rotate the order.

    >>> fair_shares({"busy": 1000, "quiet": 3, "idle": 0}, 10)
    {'busy': 7, 'quiet': 3, 'idle': 0}
    """
    shares = dict.fromkeys(available, 0)
    hungry = [key for key, count in available.items() if count]
    while hungry and total:
        share = -(-total // len(hungry))
        for key in hungry:
            taken = min(share, available[key] - shares[key], total)
            shares[key] += taken
            total -= taken
        hungry = [key for key in hungry if shares[key] < available[key]]
    return shares
