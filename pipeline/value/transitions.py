"""Replay of transitions: the last decisions with what followed them, drawn alike or by their last errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.config import TransitionConfig
from pipeline.value.checks import check_names, read_array
from pipeline.value.episodes import Step
from pipeline.value.port import Arrays, Decision, Floats

CORRECTION = 0.4
"""Exponent of the weight that corrects for unlike probabilities (Schaul et al. 2016, at the start)."""
LEAST_ERROR = 1e-3
"""So that a decision that was once predicted right is drawn again, too."""

Columns = dict[str, NDArray[Any]]
"""Facts of decisions: their state, actions, rewards; how many actions were shown, how many are known at all;
and if it is complete, what followed."""


class Draws(NamedTuple):
    """Drawn transitions.

    Attributes:
        indices: ``[b]`` where they are kept.
        decisions: columns of b decisions.
        following: columns of the b decisions whose states are valued.
        weights: ``[b]`` of their losses, at most 1.
    """

    indices: NDArray[np.int64]
    decisions: Columns
    following: Columns
    weights: Floats


class TransitionBuffer:
    """A ring of decisions; a transition is complete as soon as what followed is known.

    Decisions are numbered as they are added. What follows a decision has a higher number, so it is kept as
    long as the decision is.

    Args:
        sizes: numbers of features of a state and of an item.
    """

    def __init__(self, config: TransitionConfig, sizes: tuple[int, int]) -> None:
        self._config = config
        self._columns = _empty(config, *sizes)
        self.added = 0

    def __len__(self) -> int:
        """Number of decisions that are kept."""
        return min(self.added, self._config.decisions)

    @property
    def complete(self) -> int:
        """Number of complete transitions that are kept."""
        return int(self._columns["complete"].sum())

    def add(self, decision: Decision, random: np.random.Generator) -> int:
        """Keep a decision; return its number.

        If it does not say what else could have been shown, actions of earlier decisions stand in for that.
        """
        kept = np.argsort(decision.rewards == 0, kind="stable")[: self._config.actions]
        free = self._config.actions - len(kept)
        others = self._borrowed(free, random) if decision.others is None else decision.others[:free]
        known = len(kept) + len(others)
        columns, place = self._columns, self.added % self._config.decisions
        columns["state"][place], columns["error"][place] = decision.state, 1.0
        columns["actions"][place, :known] = np.concatenate((decision.items[kept], others))
        columns["rewards"][place] = 0
        columns["rewards"][place, : len(kept)] = decision.rewards[kept]
        columns["shown"][place], columns["known"][place] = len(kept), known
        columns["complete"][place] = False
        self.added += 1
        return self.added - 1

    def _borrowed(self, amount: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Draw shown actions of decisions that are kept."""
        actions = self._columns["actions"]
        if not self.added:
            return np.zeros((0, actions.shape[-1]), dtype=np.float32)
        indices = random.integers(len(self), size=amount)
        ranks = (random.random(amount) * self._columns["shown"][indices]).astype(np.int64)
        found: NDArray[np.float32] = actions[indices, ranks]
        return found

    def finish(self, step: Step) -> None:
        """Complete a transition, unless its decision is no longer kept."""
        if step.number < self.added - self._config.decisions:
            return
        place = step.number % self._config.decisions
        for name in ("later", "discount", "following"):
            self._columns[name][place] = getattr(step, name)
        self._columns["complete"][place] = True

    def draw(self, amount: int, random: np.random.Generator) -> Draws:
        """Draw complete transitions, of which there must be one."""
        complete = np.flatnonzero(self._columns["complete"])
        chances = np.maximum(self._columns["error"][complete], LEAST_ERROR) ** self._config.priority
        ends = np.cumsum(chances, dtype=np.float64)
        drawn = np.searchsorted(ends, random.random(amount) * ends[-1], side="right")
        drawn = np.minimum(drawn, len(complete) - 1)
        weights = (chances.min() / chances[drawn]) ** CORRECTION
        indices = complete[drawn]
        following = self._columns["following"][indices] % self._config.decisions
        return Draws(indices, self._at(indices), self._at(following), weights)

    def _at(self, indices: NDArray[np.int64]) -> Columns:
        """Columns of decisions, no wider than the one with most actions needs."""
        most = int(self._columns["known"][indices].max())
        wide = {name: self._columns[name][indices, :most] for name in ("actions", "rewards")}
        return {name: column[indices] for name, column in self._columns.items() if name not in wide} | wide

    def note(self, indices: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """Remember the errors ``[b]`` of transitions that were learned."""
        self._columns["error"][indices] = errors

    def state(self) -> Arrays:
        """Return what is kept, by column."""
        columns = {name: column[: len(self)].copy() for name, column in self._columns.items()}
        return {"added": np.array([self.added]), **columns}

    def load(self, state: Arrays) -> None:
        """Restore what was kept.

        Raises:
            ValueError: it is of other sizes, not finite, or refers to decisions that are not kept.
        """
        check_names(state, {"added", *self._columns})
        added = int(read_array(state, "added", (1,), np.int64)[0])
        if added < 0:
            raise ValueError("added is negative")
        kept = min(added, self._config.decisions)
        columns = {
            name: read_array(state, name, (kept, *column.shape[1:]), column.dtype)
            for name, column in self._columns.items()
        }
        _check(columns, added, self._config.actions)
        for name, column in columns.items():
            self._columns[name] = np.zeros_like(self._columns[name])
            self._columns[name][:kept] = column
        self.added = added


def _empty(config: TransitionConfig, state_size: int, item_size: int) -> Columns:
    forms: dict[str, tuple[DTypeLike, tuple[int, ...]]] = {
        "state": (np.float32, (state_size,)),
        "actions": (np.float32, (config.actions, item_size)),
        "rewards": (np.float32, (config.actions,)),
        "shown": (np.int64, ()),
        "known": (np.int64, ()),
        "complete": (np.bool_, ()),
        "later": (np.float32, ()),
        "discount": (np.float32, ()),
        "following": (np.int64, ()),
        "error": (np.float32, ()),
    }
    return {name: np.zeros((config.decisions, *shape), dtype) for name, (dtype, shape) in forms.items()}


def _check(columns: Columns, added: int, actions: int) -> None:
    """Check that counts are within bounds, and that each transition refers to a decision that is kept."""
    shown, known = columns["shown"], columns["known"]
    if (shown < 1).any() or (shown > known).any() or (known > actions).any():
        raise ValueError("shown or known are out of range")
    following = columns["following"][columns["complete"]]
    if (following < added - len(shown)).any() or (following >= added).any():
        raise ValueError("following are no decisions that are kept")
