"""Looking up keys in an array of ascending ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Found(NamedTuple):
    """Where keys ``[...]`` are among ascending ones ``[n]``, or would be, from 0 to n; which are there."""

    at: NDArray[np.int64]
    is_there: NDArray[np.bool_]


def look_up(keys: NDArray[Any], wanted: NDArray[Any]) -> Found:
    """Look up wanted keys ``[...]`` among ascending ones ``[n]``; of equal ones the first is found.

    >>> look_up(np.array([2, 5]), np.array([5, 3, 9]))
    Found(at=array([1, 1, 2]), is_there=array([ True, False, False]))
    """
    at = np.searchsorted(keys, wanted)
    if not keys.size:
        return Found(at, np.zeros(at.shape, dtype=np.bool_))
    return Found(at, keys.take(at, mode="clip") == wanted)  # what is beyond the last key is not equal to it
