"""The port of content encoders: bytes of a picture or a sound to a vector, in a space that never changes."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

DECIMALS = 5
"""Of a component: as exact as 16 bits, short in JSON, and the same on machines whose last bits differ."""

LAST_DIGIT = 1.5 * 10**-DECIMALS
"""How far components may be apart of the same medium on other machines or in other processes."""

Vector = NDArray[np.float64]


class ContentEncoder(Protocol):
    """Encodes the bytes of one medium."""

    def encode(self, content: bytes) -> Vector:
        """Return the vector ``[width]``, of length 1 and rounded.

        Raises:
            MediaRefused: the content is damaged, too large, or not of the medium.
        """


def unit(vector: NDArray[np.floating]) -> Vector:
    """Scale a vector to length 1, and round it."""
    found = vector.astype(np.float64)
    # Adding 0 makes of -0.0 a 0.0, so that equal vectors have equal bytes.
    return np.round(found / max(float(np.linalg.norm(found)), 1e-12), DECIMALS) + 0.0
