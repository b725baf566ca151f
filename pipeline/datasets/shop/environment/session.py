"""Whether a user stays for another slate, or leaves because of boredom.

A session of a rested user who always finds something to click has 20 slates in the mean; one of a user who
never does has 7, and one of a user who is tired of all that is shown has 2.
"""

from __future__ import annotations

import numpy as np

from pipeline.datasets.shop.catalogue import Floats

STAY = 0.95
"""Probability that a rested user stays after a slate on which something was clicked."""
UNSERVED = 0.9
"""Factor on it after a slate on which nothing was."""
TIRED = 0.3
"""It falls by exp(-TIRED * mean weariness of what the slate showed)."""


def stay_probability(served: Floats, weariness: Floats) -> Floats:
    """Return the probability that a user stays after a slate.

    Args:
        served: probability that anything was clicked; 0 or 1 once it is known.
        weariness: mean over the shown items of their categories' weariness before the slate.
    """
    return np.asarray(STAY * (served + (1 - served) * UNSERVED) * np.exp(-TIRED * weariness))
