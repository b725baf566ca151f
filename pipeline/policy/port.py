"""The port: what the server and the audit need of a policy."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Policy(Protocol):
    """Gives the places of a slate to scored candidates, one after another.

    The first `explored_places` are drawn; each later one goes to the best candidate left, so its propensity
    is 1. Draws follow from the id of the impression, see `pipeline.policy.draws`.
    """

    @property
    def name(self) -> str:
        """What the settings call it."""

    @property
    def version(self) -> str:
        """Its parameters; policies of one name and version choose alike."""

    @property
    def explored_places(self) -> int:
        """Number of places that are drawn, at most."""

    @property
    def pool(self) -> int:
        """Number of the best candidates among which they are drawn, at most."""

    @property
    def ranks_by(self) -> str | None:
        """Name of the learner whose values it ranks by; None for the mixture's logits."""

    def probabilities(self, scores: Floats, left: Mask) -> Floats:
        """Return each candidate's probability ``[..., m]`` to get the next place.

        Args:
            scores: logits ``[..., m]``, best first, infinite ones are allowed; or if it ranks by values,
                samples of them ``[draws, m]``. NaN is not allowed.
            left: ``[..., m]`` mask of those that may get it, one at least.
        """
