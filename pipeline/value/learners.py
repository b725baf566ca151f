"""The learners that the settings name, as one; what must never be learned is sorted out here, for all."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum

import numpy as np

from pipeline.config import ValueConfig, ValueName
from pipeline.value.checks import divided, joined, read_array
from pipeline.value.dqn import DqnLearner, DqnModel
from pipeline.value.port import Arrays, Decision, ValueLearner, ValueModel
from pipeline.value.thompson import ThompsonLearner, ThompsonModel

log = logging.getLogger(__name__)

COUNT = "count"
"""The part of a state that is of no learner: how many decisions each has learned."""
LARGEST = 1e6
"""Of a feature or a reward; squares of larger ones leave float64 no digits for small ones."""


class Skipped(StrEnum):
    """Why a decision is not learned."""

    UNREADABLE = "unreadable"
    """Its impression has features of another layout, or none that can be read."""
    MISSHAPEN = "misshapen"
    """It has no items, or its arrays do not fit each other or this learner."""
    OUT_OF_RANGE = "out_of_range"
    """A feature or a reward is not finite, or too large."""
    FLOOD = "flood"
    """Its user has too many in the batch."""


class ValueLearners:
    """Learners by name, which learn the same decisions.

    Args:
        makers: of the learners.
        sizes: numbers of features of a state and of an item.

    Attributes:
        decisions: how many each learner has learned.
        skipped: how many were not learned since the start, by reason.
    """

    def __init__(
        self,
        config: ValueConfig,
        makers: Mapping[ValueName, Callable[[], ValueLearner]],
        sizes: tuple[int, int],
    ) -> None:
        self._config = config
        self._makers = makers
        self._learners = {name: make() for name, make in makers.items()}
        self._sizes = sizes
        self.decisions = dict.fromkeys(makers, 0)
        self.skipped: Counter[Skipped] = Counter()

    def learn(self, decisions: Sequence[Decision], random: np.random.Generator) -> None:
        """Learn the decisions of a batch that can be learned; count the others."""
        accepted = list(self._accepted(decisions))
        for name, learner in self._learners.items():
            learner.learn(accepted, random)
            self.decisions[name] += len(accepted)

    def _accepted(self, decisions: Sequence[Decision]) -> Iterator[Decision]:
        of_users: Counter[int] = Counter()
        for decision in decisions:
            fault = fault_of(decision, *self._sizes)
            if fault is None and of_users[decision.user] >= self._config.decisions_of_user:
                fault = Skipped.FLOOD
            if fault is not None:
                self.skipped[fault] += 1
                continue
            of_users[decision.user] += 1
            yield decision

    def model(self) -> Arrays:
        """Return the models of the learners that have learned enough, as ``<learner>.<array>``."""
        least = self._config.least_decisions
        return joined(
            {
                name: learner.model()
                for name, learner in self._learners.items()
                if self.decisions[name] >= max(least, learner.warm_up)
            }
        )

    def state(self) -> Arrays:
        """Return the states of all learners, as ``<learner>.<array>``, and the number of decisions."""
        counts: Arrays = {name: np.array([learned]) for name, learned in self.decisions.items()}
        return joined({COUNT: counts, **{name: learner.state() for name, learner in self._learners.items()}})

    def load(self, state: Arrays) -> None:
        """Restore the states of the learners; without one of its settings, a learner begins new.

        Raises:
            ValueError: it does not say how many decisions a learner has learned.
        """
        parts = divided(state)
        counts = parts.pop(COUNT, {})
        for name in self._makers:
            restored = self._restored(name, parts.get(name))
            self._learners[name] = restored or self._makers[name]()
            self.decisions[name] = int(read_array(counts, name, (1,), np.int64)[0]) if restored else 0

    def _restored(self, name: ValueName, state: Arrays | None) -> ValueLearner | None:
        if state is None:
            return None
        learner = self._makers[name]()
        try:
            learner.load(state)
        except ValueError as error:
            log.warning("%s begins new: its state is of other settings: %s", name, error)
            return None
        return learner


def fault_of(decision: Decision, state_size: int, item_size: int) -> Skipped | None:
    """Return why a decision cannot be learned, if so."""
    size = len(decision.items)
    others = decision.items[:0] if decision.others is None else decision.others
    fits = (
        size > 0
        and decision.state.shape == (state_size,)
        and decision.items.shape == (size, item_size)
        and decision.rewards.shape == decision.scores.shape == (size,)
        and others.shape == (len(others), item_size)
    )
    if not fits:
        return Skipped.MISSHAPEN
    values = np.concatenate([decision.state, decision.items.ravel(), others.ravel(), decision.rewards])
    return None if np.abs(values).max() <= LARGEST else Skipped.OUT_OF_RANGE  # no comparison holds for NaN


def make_learner(config: ValueConfig, state_size: int, item_size: int, seed: int = 0) -> ValueLearners:
    """Make the learners that the settings name, for features of these sizes; with none, it learns nothing.

    Args:
        seed: of first weights.
    """
    makers: dict[ValueName, Callable[[], ValueLearner]] = {
        "thompson": lambda: ThompsonLearner(config.thompson, item_size),
        "dqn": lambda: DqnLearner(config.dqn, (state_size, item_size), seed),
    }
    return ValueLearners(config, {name: makers[name] for name in config.learners}, (state_size, item_size))


def make_models(arrays: Arrays, state_size: int, item_size: int) -> dict[str, ValueModel]:
    """Make the models of what was published, by the name of the learner.

    Raises:
        ValueError: names the learner and the array that is missing, or does not fit.
    """
    makers: dict[str, Callable[[Arrays], ValueModel]] = {
        "thompson": lambda part: ThompsonModel.of(part, item_size),
        "dqn": lambda part: DqnModel.of(part, (state_size, item_size)),
    }
    models: dict[str, ValueModel] = {}
    for name, part in divided(arrays).items():
        if name not in makers:
            raise ValueError(f"there is no learner of values {name!r}")
        try:
            models[name] = makers[name](part)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return models
