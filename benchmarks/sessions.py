"""Sessions of the simulated shop's environment, played by policies that learn meanwhile.

Used by benchmarks/shop.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.shop.catalogue import Integers
from pipeline.datasets.shop.environment import ShopEnvironment
from pipeline.datasets.shop.environment.environment import Info, Observation
from pipeline.value.features import OTHERS
from pipeline.value.port import Arrays, Decision, Floats, ValueLearner, ValueModel

WINDOW_MS = 30 * 60_000
"""After which an outcome closes, as by default."""
BATCH = 64
"""Decisions that are learned at once."""
ModelOf = Callable[[Arrays], ValueModel]


class Player(Protocol):
    """Chooses slates, and may learn from what comes of them."""

    def slate(self, observation: Observation, info: Info, size: int) -> Integers:
        """Return the indices of the items to show (size)."""

    def note(self, decision: Decision) -> None:
        """Learn of a decision that was just made; its outcome closes later."""


class RandomPlayer:
    """Shows any items; the base of players that learn nothing."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def slate(self, observation: Observation, info: Info, size: int) -> Integers:
        """Draw a slate."""
        return self._random.choice(len(observation["items"]), size, replace=False)

    def note(self, decision: Decision) -> None:
        """Learn nothing."""


class MyopicPlayer(RandomPlayer):
    """Knows the true expected reward of each item now, and shows the best: no myopic policy earns more."""

    def slate(self, observation: Observation, info: Info, size: int) -> Integers:
        """Return the items with the highest expected rewards, best first."""
        return np.argsort(-info["expected_rewards"], kind="stable")[:size]


class Exploring(NamedTuple):
    """How a model's values become a slate.

    Attributes:
        samples: whether each place gets the best of a sample of what is believed, or else of its mean.
        epsilon: probability of a uniform draw of a place; None for what the model says.
    """

    samples: bool = False
    epsilon: float | None = 0.0


class ModelPlayer(RandomPlayer):
    """Shows what a model values most."""

    def __init__(self, random: np.random.Generator, model: ValueModel, exploring: Exploring) -> None:
        super().__init__(random)
        self.model = model
        self._exploring = exploring

    def slate(self, observation: Observation, info: Info, size: int) -> Integers:
        """Fill one place after another."""
        weights = self.model.normals[1]
        samples, epsilon = self._exploring
        normals = self._random.standard_normal((size, weights)) if samples else np.zeros((1, weights))
        values = self.model.values(observation["state"], observation["items"], normals)
        return filled(values, size, self.model.epsilon if epsilon is None else epsilon, self._random)


class LearningPlayer(ModelPlayer):
    """Learns decisions in batches as their outcomes close, and goes on with the newest model.

    The first batch is shown at random, because nothing is known yet.
    """

    def __init__(
        self, random: np.random.Generator, learner: ValueLearner, model_of: ModelOf, exploring: Exploring
    ) -> None:
        super().__init__(random, model_of(learner.model()), exploring)
        self._learner = learner
        self._model_of = model_of
        self._open: deque[Decision] = deque()
        self._closed: list[Decision] = []
        self._has_learned = False

    def slate(self, observation: Observation, info: Info, size: int) -> Integers:
        """Fill one place after another, by what was learned."""
        if not self._has_learned:
            return RandomPlayer.slate(self, observation, info, size)
        return super().slate(observation, info, size)

    def note(self, decision: Decision) -> None:
        """Learn what has closed, if it is a batch."""
        while self._open and self._open[0].shown_at + WINDOW_MS < decision.shown_at:
            self._closed.append(self._open.popleft())
        self._open.append(decision)
        if len(self._closed) >= BATCH:
            self._learner.learn(self._closed, self._random)
            self._closed = []
            self.model, self._has_learned = self._model_of(self._learner.model()), True

    def settled(self) -> ModelPlayer:
        """Return a player of the newest model that neither explores nor learns."""
        return ModelPlayer(self._random, self.model, Exploring())


@dataclass(frozen=True)
class Played:
    """What came of T decisions.

    Attributes:
        best: true expected reward of the best slate at the time of each decision (T).
        expected: that of the slate that was shown (T).
        rewards: what was earned (T).
        left: whether the session ended (T).
    """

    best: Floats
    expected: Floats
    rewards: Floats
    left: NDArray[np.bool_]

    @property
    def regrets(self) -> Floats:
        """Expected reward that was given away (T)."""
        return self.best - self.expected

    @property
    def sessions(self) -> Floats:
        """True expected rewards of the slates of each session that ended, summed.

        They have the mean of the rewards that were earned, and less noise.
        """
        ends = np.flatnonzero(self.left)
        return np.diff(np.cumsum(self.expected)[ends], prepend=0.0)


def play(
    environment: ShopEnvironment,
    player: Player,
    decisions: int,
    random: np.random.Generator,
    seed: int | None = None,
) -> Played:
    """Let a player make so many decisions.

    Args:
        random: draws which others are remembered with a decision.
        seed: opens the shop; without one the next session of an open shop begins.
    """
    size, found = environment.settings.slate, []
    observation, info = environment.reset(seed=seed)
    for _ in range(decisions):
        expected = info["expected_rewards"]
        slate = player.slate(observation, info, size)
        following, reward, left, _, after = environment.step(slate)
        player.note(decided(observation, info, slate, after["rewards"], random))
        found.append((np.partition(expected, -size)[-size:].sum(), expected[slate].sum(), reward, left))
        observation, info = environment.reset() if left else (following, after)
    best, shown, rewards, ended = np.array(found).T
    return Played(best, shown, rewards, ended.astype(np.bool_))


def decided(
    observation: Observation, info: Info, slate: Integers, rewards: Floats, random: np.random.Generator
) -> Decision:
    """Return the decision to show a slate (k), with some others that were not shown."""
    items = observation["items"]
    rest = np.delete(np.arange(len(items)), slate)
    others = random.choice(rest, min(OTHERS, rest.size), replace=False)
    return Decision(
        user=info["user"],
        shown_at=info["shown_at"],
        state=observation["state"],
        items=items[slate],
        scores=info["scores"][slate],
        rewards=rewards,
        others=items[others],
    )


def filled(values: Floats, size: int, epsilon: float, random: np.random.Generator) -> Integers:
    """Give each place of a slate to the best that is left by its row of values, or to any one.

    Args:
        values: (draws, m); a later place than there are draws has the last one.
        epsilon: probability of any one.
    """
    left = np.ones(values.shape[1], dtype=np.bool_)
    slate = np.empty(size, dtype=np.int64)
    for place in range(size):
        if random.random() < epsilon:
            slate[place] = random.choice(np.flatnonzero(left))
        else:
            slate[place] = np.where(left, values[min(place, len(values) - 1)], -np.inf).argmax()
        left[slate[place]] = False
    return slate
