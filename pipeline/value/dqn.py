"""Deep Q-learning of slates, decomposed into items: SlateQ (Ie et al. 2019) with a double DQN.

What is learned solves the Bellman optimality equation of slates:

    Q(s, A) = Σᵢ P(i | s, A) Q̄(s, i),   Q̄(s, i) = E[r + γ max over A' of Q(s', A') | i is chosen in s]

over the items of A and the choice of nothing. One network learns Q̄, the logits of P, and what the mere
showing of an item does beside (see `slates`). It learns rewards in units of the spread of slates' rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.config import DqnConfig
from pipeline.value.adam import Adam
from pipeline.value.checks import check_names, divided, joined, read_array, read_weights
from pipeline.value.episodes import Episodes
from pipeline.value.network import NetworkSizes, ServedNetwork, outputs
from pipeline.value.port import Arrays, Decision, Floats, Vectors
from pipeline.value.scaling import Scaling
from pipeline.value.slates import Estimates, best_slates, slate_values
from pipeline.value.transitions import Columns, Draws, TransitionBuffer

FURTHEST = 5.0
"""Standard deviations from the mean at which a feature is cut off."""
HALF_LIFE = 20_000
"""Decisions after which one counts half in means and spreads of features; if they moved faster, the networks
would have to follow them."""
SCALES = "state_centre", "state_spread", "item_centre", "item_spread"
CHOICE_WEIGHT = 10.0
"""Of the loss of the choice beside that of the values, which is mostly noise."""
LEAST_CHANCE = 1e-30
"""Of a choice that was made, so that its surprise is finite."""
WIDEST, MOST_SHOWN = 4_096, 200
"""As the settings allow."""


class Seen(NamedTuple):
    """Decisions as the network takes them.

    Attributes:
        states: ``[b, s]``, standardised.
        actions: ``[b, m, p]``, standardised.
        shown: ``[b, m]`` which actions were in the slate.
        known: ``[b, m]`` which actions there are.
    """

    states: Tensor
    actions: Tensor
    shown: Tensor
    known: Tensor


class NetworkEstimates(NamedTuple):
    """What the network says of m actions in b states.

    Attributes:
        rewards: ``[b, m + 1]`` of each action if it is chosen, and of nothing.
        futures: ``[b, m + 1]`` values of what follows then; Q̄ is the sum of both.
        logits: ``[b, m + 1]`` of the choice.
        effects: ``[b, m]`` of each action, if it is shown.
    """

    rewards: Tensor
    futures: Tensor
    logits: Tensor
    effects: Tensor

    def for_slates(self) -> Estimates:
        """Return the same for the search for slates, without gradients."""
        values = self.rewards + self.futures
        return Estimates(*(part.numpy() for part in (values, self.logits, self.effects)))


class DqnLearner:
    """Learns the value of showing an item, with all rewards that follow in the session.

    Args:
        sizes: numbers of features of a state and of an item.
        seed: of the first weights.
    """

    def __init__(self, config: DqnConfig, sizes: tuple[int, int], seed: int = 0) -> None:
        self._config = config
        self._sizes = NetworkSizes(*sizes, config.width)
        self._transitions = TransitionBuffer(config.replay, sizes)
        self._episodes = Episodes(config.episodes)
        self._of_states, self._of_items, self._of_rewards = (Scaling(size) for size in (*sizes, 1))
        self._adam = Adam(self._sizes.born(np.random.default_rng(seed)))
        self._target = self._adam.weights.detach().clone()
        self._due = 0

    @property
    def warm_up(self) -> int:
        """Decisions before the first update."""
        return self._config.warm_up

    def learn(self, decisions: Sequence[Decision], random: np.random.Generator) -> None:
        """Add decisions to the replay, and learn from it as often as is due."""
        self._scale(decisions)
        for decision in decisions:
            number = self._transitions.add(decision, random)
            reward = float(decision.rewards.sum())
            for step in self._episodes.add(decision.user, decision.shown_at, number, reward):
                self._transitions.finish(step)
        if self._transitions.added < self.warm_up or not self._transitions.complete:
            return
        for _ in range(self._updates(len(decisions))):
            self._update(self._transitions.draw(self._config.replay.batch, random))

    def _updates(self, added: int) -> int:
        """Return how many updates a batch of so many decisions takes.

        Those that are due and do not fit into it wait for later batches, until their decisions are forgotten.
        """
        config, due = self._config, min(self._due + added, self._config.replay.decisions)
        updates = min(due // config.decisions_per_update, config.most_updates)
        self._due = due - updates * config.decisions_per_update
        return updates

    def _scale(self, decisions: Sequence[Decision]) -> None:
        if decisions:
            kept = 0.5 ** (len(decisions) / HALF_LIFE)
            self._of_states.add(np.stack([one.state for one in decisions]).astype(np.float64), kept)
            self._of_items.add(np.concatenate([one.items for one in decisions]).astype(np.float64), kept)
            self._of_rewards.add(np.array([[one.rewards.sum()] for one in decisions]), kept)

    def _update(self, drawn: Draws) -> None:
        """Take one step of the network, and let the target network follow."""
        batch, chosen = self._seen(drawn.decisions), _chosen(drawn.decisions)
        rewards, futures = _rewards(drawn.decisions) / self._unit, self._futures(drawn)[:, None]
        estimates = estimate(self._adam.weights, self._sizes, batch.states, batch.actions)
        expected = estimates.futures + _mean_effects(estimates.effects, batch.shown)[:, None]
        errors = self._huber(estimates.rewards, rewards) + self._huber(expected, futures)
        surprise = -(chosen * choices(estimates.logits, batch.shown).clamp(min=LEAST_CHANCE).log()).sum(-1)
        excess = self._config.conservatism * _excess(estimates, batch)
        losses = (chosen * errors).sum(-1) + CHOICE_WEIGHT * surprise + excess
        self._descend((torch.from_numpy(drawn.weights).float() * losses).mean())
        distances = (chosen * (estimates.rewards + expected - rewards - futures).abs()).sum(-1).detach()
        self._transitions.note(drawn.indices, distances.numpy())

    def _descend(self, loss: Tensor) -> None:
        (gradient,) = torch.autograd.grad(loss, self._adam.weights)
        self._adam.step(clipped(gradient, self._config.clip), self._rate)
        self._target.lerp_(self._adam.weights.detach(), self._config.target_step)

    @property
    def _rate(self) -> float:
        passed = min(self._adam.steps / self._config.rate_updates, 1.0)
        return self._config.rate * (1 - passed * (1 - self._config.last_rate))

    def _huber(self, found: Tensor, target: Tensor) -> Tensor:
        """Return the loss of numbers ``[b, m + 1]``, whose target is one for all or one for each."""
        return functional.huber_loss(
            found, target.expand_as(found), reduction="none", delta=self._config.huber
        )

    @torch.no_grad()
    def _futures(self, drawn: Draws) -> Tensor:
        """Return the discounted rewards that followed and the value of the best slate after them, ``[b]``.

        That slate is chosen by the learned network and valued by the target network (double DQN; van
        Hasselt, Guez and Silver 2016), among the items that are known of that state.
        """
        following = self._seen(drawn.following)
        learned, slow = (
            estimate(weights, self._sizes, following.states, following.actions).for_slates()
            for weights in (self._adam.weights, self._target)
        )
        known, sizes = following.known.numpy(), drawn.following["shown"]
        best = slate_values(slow, best_slates(learned, known, sizes).members).astype(np.float32)
        later, discount = (torch.from_numpy(drawn.decisions[name]) for name in ("later", "discount"))
        return later / self._unit + discount * torch.from_numpy(best)

    @property
    def _unit(self) -> float:
        """Standard deviation of a slate's reward."""
        return float(self._of_rewards.centre_and_spread()[1][0])

    def _seen(self, rows: Columns) -> Seen:
        indices = np.arange(rows["actions"].shape[1])
        return Seen(
            _standard(rows["state"], *self._of_states.centre_and_spread()),
            _standard(rows["actions"], *self._of_items.centre_and_spread()),
            torch.from_numpy(indices < rows["shown"][:, None]),
            torch.from_numpy(indices < rows["known"][:, None]),
        )

    @property
    def epsilon(self) -> float:
        """Probability of a uniform draw, by the decisions that were learned."""
        passed = min(self._transitions.added / self._config.epsilon_decisions, 1.0)
        return self._config.first_epsilon + passed * (self._config.last_epsilon - self._config.first_epsilon)

    def model(self) -> Arrays:
        """Return what a `DqnModel` is made of."""
        scales = (*self._of_states.centre_and_spread(), *self._of_items.centre_and_spread())
        arrays = {
            "weights": self._target.numpy(),
            "sizes": np.array([self._config.width, self._config.slate]),
            "unit": np.array([self._unit]),
            "epsilon": np.array([self.epsilon]),
            **dict(zip(SCALES, scales, strict=True)),
        }
        return {name: array.astype(np.float32) for name, array in arrays.items()}

    def state(self) -> Arrays:
        """Return the replay, the open sessions, the network with its moments, and the target network."""
        own = {"target": self._target.numpy().copy(), "due": np.array([self._due])}
        return joined({"own": own, **{name: part.state() for name, part in self._parts.items()}})

    def load(self, state: Arrays) -> None:
        """Restore a state.

        Raises:
            ValueError: it is no state of a learner of this configuration.
        """
        parts = divided(state)
        if parts.keys() != {"own", *self._parts}:
            raise ValueError(f"its parts are {sorted(parts)}")
        for name, part in self._parts.items():
            part.load(parts[name])
        check_names(parts["own"], {"target", "due"})
        target = read_array(parts["own"], "target", tuple(self._target.shape), np.float32)
        self._target = torch.from_numpy(target)
        self._due = int(read_array(parts["own"], "due", (1,), np.int64)[0])

    @property
    def _parts(self) -> dict[str, TransitionBuffer | Episodes | Scaling | Adam]:
        return {
            "replay": self._transitions,
            "episodes": self._episodes,
            "states": self._of_states,
            "items": self._of_items,
            "rewards": self._of_rewards,
            "adam": self._adam,
        }


def clipped(gradient: Tensor, longest: float) -> Tensor:
    """Return a gradient, shortened if its norm is larger."""
    norm: Tensor = torch.linalg.vector_norm(gradient)
    return gradient * (longest / norm.clamp(min=longest))


def estimate(weights: Tensor, sizes: NetworkSizes, states: Tensor, actions: Tensor) -> NetworkEstimates:
    """Ask the network about actions ``[b, m, p]`` in states ``[b, s]``, both standardised."""
    rewards, futures, logits, effects = outputs(weights, sizes, states, actions).unbind(-1)
    return NetworkEstimates(rewards, futures, logits, effects[:, :-1])


def choices(logits: Tensor, members: Tensor) -> Tensor:
    """Return the probabilities ``[b, m + 1]`` with which members ``[b, m]``, and nothing, are chosen."""
    return torch.softmax(_among(logits, functional.pad(members, (0, 1), value=True)), dim=-1)


def _among(numbers: Tensor, members: Tensor) -> Tensor:
    """Return numbers with -inf for those that are not members."""
    return numbers.masked_fill(~members, -torch.inf)


def _mean_effects(effects: Tensor, members: Tensor) -> Tensor:
    """Return the mean effect ``[b]`` of the members ``[b, m]``; 0 without any."""
    return (effects * members).sum(dim=-1) / members.sum(dim=-1).clamp(min=1)


def _standardised(rows: Vectors, centre: Floats | Vectors, spread: Floats | Vectors) -> Vectors:
    found = ((rows - centre) / spread).clip(-FURTHEST, FURTHEST)
    return found.astype(np.float32, copy=False)


def _standard(rows: Vectors, centre: Floats, spread: Floats) -> Tensor:
    return torch.from_numpy(_standardised(rows, centre, spread))


def _consumed(rows: Columns) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which items something came of, ``[b, m]``, and how many, ``[b, 1]``."""
    consumed = rows["rewards"] != 0
    return consumed, consumed.sum(axis=1, keepdims=True).astype(np.float32)


def _chosen(rows: Columns) -> Tensor:
    """Return shares ``[b, m + 1]`` of the choice: of several consumed items each has an equal one."""
    consumed, number = _consumed(rows)
    return torch.from_numpy(np.concatenate((consumed / np.maximum(number, 1), number == 0), axis=1)).float()


def _rewards(rows: Columns) -> Tensor:
    """Return rewards ``[b, m + 1]``; times the number of consumed items, so that the shares sum up to all."""
    _, number = _consumed(rows)
    return functional.pad(torch.from_numpy(rows["rewards"] * number), (0, 1))


def _excess(estimates: NetworkEstimates, seen: Seen) -> Tensor:
    """Return by how much items that were not shown are valued above those that were, ``[b]``.

    The regulariser of CQL(H) (Kumar et al. 2020), where what the log took is a slate: log Σ exp over all that
    is known less that over what was shown. It says nothing about the items of a slate among themselves.
    """
    values = (estimates.rewards + estimates.futures)[:, :-1] + estimates.effects
    known, shown = (_among(values, members).logsumexp(-1) for members in (seen.known, seen.shown))
    return known - shown


@dataclass(frozen=True)
class DqnModel:
    """Values items by what each adds to the best slate."""

    network: ServedNetwork
    scales: tuple[Vectors, ...]
    slate: int
    unit: float
    epsilon: float

    @classmethod
    def of(cls, arrays: Arrays, sizes: tuple[int, int]) -> Self:
        """Make a model of arrays that a learner published.

        Args:
            sizes: numbers of features of a state and of an item.

        Raises:
            ValueError: they are missing, do not fit each other, or are out of range.
        """
        check_names(arrays, {"weights", "sizes", "unit", "epsilon", *SCALES})
        width, slate = (int(size) for size in read_weights(arrays, "sizes", (2,)))
        if not (1 <= width <= WIDEST and 1 <= slate <= MOST_SHOWN):
            raise ValueError("sizes are out of range")
        network = NetworkSizes(*sizes, width)
        weights = read_weights(arrays, "weights", (sum(network.lengths),))
        shapes = zip(SCALES, np.repeat(sizes, 2).tolist(), strict=True)
        scales = tuple(read_weights(arrays, name, (size,)) for name, size in shapes)
        if min(scales[1].min(initial=1), scales[3].min(initial=1)) <= 0:
            raise ValueError("state_spread or item_spread is not positive")
        unit, epsilon = (float(read_weights(arrays, name, (1,))[0]) for name in ("unit", "epsilon"))
        if unit <= 0 or not 0 <= epsilon <= 1:
            raise ValueError("unit is not positive, or epsilon is no probability")
        return cls(ServedNetwork.of(weights, network), scales, slate, unit, epsilon)

    @property
    def normals(self) -> tuple[int, int]:
        """None are needed."""
        return 1, 0

    def estimates(self, state: Vectors, items: Vectors) -> Estimates:
        """Return what is believed of m items in one state, rewards in units of `unit`."""
        standard = _standardised(state, *self.scales[:2]), _standardised(items, *self.scales[2:])
        rewards, futures, logits, effects = self.network.outputs(*standard).T[:, None]
        return Estimates(rewards + futures, logits, effects[:, :-1])

    def values(self, state: Vectors, items: Vectors, normals: Floats) -> Floats:
        """Return ``[1, m]`` how the value of the best slate changes with each item, see `slates.swaps`.

        That slate has the items with the highest ones. They are no rewards: most are around 0.
        """
        estimates = self.estimates(state, items)
        every = np.ones(estimates.effects.shape, dtype=np.bool_)
        return self.unit * best_slates(estimates, every, np.array([self.slate])).swaps
