"""The port: what the learner's process needs of a learner of values, and a server of what it publishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Decision:
    """A slate that was shown, what was known when it was made, and what came of it.

    Attributes:
        user: digest of the user's id.
        shown_at: ms by the log's clock.
        state: ``[s]`` features of the user and the session.
        items: ``[k, p]`` features of the slate's items, given the user.
        scores: ``[k]`` probabilities that the mixture gave the items.
        rewards: ``[k]`` of each item.
        others: ``[c, p]`` features of some items that could have been shown and were not, drawn at random,
            for a learner that looks for the best slate; None if they were not recorded.
    """

    user: int
    shown_at: int
    state: Vectors
    items: Vectors
    scores: Floats
    rewards: Floats
    others: Vectors | None = None


class ValueLearner(Protocol):
    """Learns what it is worth to show an item."""

    @property
    def warm_up(self) -> int:
        """Decisions before which its values mean nothing."""

    def learn(self, decisions: Sequence[Decision], random: np.random.Generator) -> None:
        """Learn closed decisions, in the order in which they were shown."""

    def model(self) -> Arrays:
        """Return copies of what a `ValueModel` is made of, for a snapshot."""

    def state(self) -> Arrays:
        """Return copies of the whole state, for a checkpoint; learning goes on from it to the bit."""

    def load(self, state: Arrays) -> None:
        """Restore the state from a checkpoint.

        Raises:
            ValueError: it is not the state of a learner of this configuration.
        """


class ValueModel(Protocol):
    """Values items as a learner published it."""

    @property
    def normals(self) -> tuple[int, int]:
        """Shape ``(draws, d)`` of the random numbers that `values` takes; one draw of 0 if it takes none."""

    @property
    def epsilon(self) -> float:
        """Probability with which a place should be drawn uniformly, beside what the values say."""

    def values(self, state: Vectors, items: Vectors, normals: Floats) -> Floats:
        """Return values ``[draws, m]`` of m items; several draws are samples of what is believed.

        Args:
            state: ``[s]``, see `Decision`.
            items: ``[m, p]``, see `Decision`.
            normals: standard normal numbers of the shape that `normals` says, or any other number of draws;
                zeros give the mean of what is believed.
        """
