"""Encode a series of numbers to a vector by what waves it has, wherever in it they are; nothing is learned.

MiniRocket (Dempster et al. 2021): the 84 kernels of length 9 with six weights of -1 and three of 2, in
several dilations; of each, the share of places where its output exceeds a bias (PPV). There, biases are
quantiles of outputs on training data; here, of outputs on white noise, so that a vector depends on its own
series alone, and is the same everywhere. A fixed random projection makes it as wide as wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TAPS = 9
"""Numbers that a kernel reads, and the length of the shortest series."""
LONGEST = 65_536
KERNELS = np.array([*combinations(range(TAPS), 3)])
"""Where each kernel has its weights of 2."""
NOISE = 18**0.5
"""Standard deviation of a kernel's output on white noise of variance 1."""
SHARES = 0.2, 0.4, 0.6, 0.8
"""Shares of that output that do not exceed the biases."""
BIASES = [NOISE * NormalDist().inv_cdf(share) for share in SHARES]
DILATIONS = 12
"""1, 2, 4 and so on; those of which a kernel is longer than the series have no features."""


def encode_series(numbers: Sequence[float], width: int) -> NDArray[np.float32]:
    """Encode a series to a vector ``[width]`` of length 1; zeros for one that is constant.

    Its place and its scale do not count. Series of other lengths have vectors of the same meaning.

    Raises:
        ValueError: it is shorter than `TAPS`, longer than `LONGEST`, or not finite.
    """
    series = np.array(numbers, dtype=np.float64)
    if series.ndim != 1 or not TAPS <= series.size <= LONGEST or not np.isfinite(series).all():
        raise ValueError(f"a series has from {TAPS} to {LONGEST} numbers, all finite")
    largest = np.abs(series).max()
    series = series / (largest or 1.0)  # so that no square is beyond all numbers
    spread = series.std()
    if spread <= np.finfo(np.float64).eps:
        return np.zeros(width, dtype=np.float32)
    vector = _features((series - series.mean()) / spread) @ _projection(width)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _features(series: Floats) -> Floats:
    """Return how far each share of places is from that of white noise, ``[DILATIONS·kernels·biases]``."""
    features = np.zeros((DILATIONS, len(SHARES), len(KERNELS)))
    for number in range(DILATIONS):
        span = (TAPS - 1) << number
        if span < series.size:
            outputs = _outputs(series, 1 << number)
            for place, (bias, share) in enumerate(zip(BIASES, SHARES, strict=True)):
                features[number, place] = (outputs > bias).mean(axis=1) - (1 - share)
    return features.ravel()


def _outputs(series: Floats, dilation: int) -> Floats:
    """Return the outputs of all kernels, ``[kernels, size]``."""
    size = series.size - (TAPS - 1) * dilation
    taps = np.stack([series[dilation * tap :][:size] for tap in range(TAPS)])
    return np.asarray(3 * taps[KERNELS].sum(axis=1) - taps.sum(axis=0))


@lru_cache(4)
def _projection(width: int) -> Floats:
    """Return the signs ``[features, width]`` of the random projection (Achlioptas 2003)."""
    features = DILATIONS * len(SHARES) * len(KERNELS)
    bits = np.frombuffer(hashlib.shake_128(b"series").digest(features * width), dtype=np.uint8) & 1
    return (2 * bits.astype(np.float64) - 1).reshape(features, width)
