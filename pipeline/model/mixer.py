"""The mixer: a handful of weights that turn several opinions into one probability.

log p(item) ∝ Σ w · feature, over the model's and memory's and popularity's log-shares and
the evidence; a conditional logit (McFadden 1974) learned online with Adam, on new events
only, before anything has seen them. There is one set of weights for the first item of a
basket, where habit and popularity say more, and one for what follows (measured: HR@20 of
first items .22 → .25 on Online Retail).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.state.evidence import FACTS

FEATURES = ("model", "covisitation", "popularity", *FACTS)
DENSE = len(FEATURES) - len(FACTS)
"""How many features say something of every item; the facts come after them."""
BIRTH = (1.0, 0.5, 0.0, 0.3, -0.5, 0.3)
SITUATIONS = ("within_basket", "first_of_basket")
COVISITATION_FLOOR = 1e-3
"""What memory gives an item that it does not suggest, before taking logs."""
DECAYS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True)
class ScorerOutputs:
    """What there is to mix for m targets over n items: the features, in the order of `FEATURES`.

    Attributes:
        model: ``[m, n]`` log-probabilities.
        memory: ``[m, n]`` log-probabilities.
        popularity: ``[n]`` log-probabilities.
        indices, values: ``[3, k]`` and ``[k]``, the facts that are not zero, see
            `pipeline.state.evidence`.
        situation: ``[m]`` index into `SITUATIONS`.
    """

    model: Tensor
    covisitation: Tensor
    popularity: Tensor
    indices: Tensor
    values: Tensor
    situation: Tensor


def from_shares(covisitation: Tensor) -> Tensor:
    """Log-probabilities of shares ``[m, n]``; overwrites them.

    What memory does not suggest has a share of zero, and a little all the same.
    """
    covisitation += COVISITATION_FLOOR
    covisitation /= covisitation.sum(dim=1, keepdim=True)
    return covisitation.log_()


def mix(weights: Tensor, given: ScorerOutputs) -> Tensor:
    """Log-probabilities ``[m, n]`` by weights ``[situations, features]``."""
    return torch.log_softmax(blend(weights, given), dim=1)


def blend(weights: Tensor, given: ScorerOutputs) -> Tensor:
    """Weighted sums of the features, ``[m, n]``, by weights ``[situations, features]``."""
    own = weights[given.situation]
    model, covisitation, popularity = own[:, :DENSE].T.unsqueeze(2)
    mixed: Tensor = (
        (model * given.model)
        .addcmul_(covisitation, given.covisitation)
        .addcmul_(popularity, given.popularity)
    )
    fact, target, item = given.indices
    mixed.index_put_((target, item), own[target, DENSE + fact] * given.values, accumulate=True)
    return mixed


def weigh(given: ScorerOutputs, weights: Tensor) -> Tensor:
    """Sum of each feature over the items, weighted by ``[m, n]``: ``[m, features]``."""
    sums = weights.new_zeros(len(weights), len(FEATURES))
    sums[:, 0] = (weights * given.model).sum(dim=1)
    sums[:, 1] = (weights * given.covisitation).sum(dim=1)
    sums[:, 2] = weights @ given.popularity
    fact, target, item = given.indices
    sums.index_put_((target, DENSE + fact), weights[target, item] * given.values, accumulate=True)
    return sums


class Mixer:
    """The weights ``[situations, features]`` with Adam's two moments."""

    def __init__(self, rate: float, device: torch.device) -> None:
        self._rate = rate
        self.weights = torch.tensor([BIRTH] * len(SITUATIONS), device=device)
        self._mean = torch.zeros_like(self.weights)
        self._square = torch.zeros_like(self.weights)
        self._taken = torch.zeros(len(SITUATIONS), 1, device=device)

    def log_probabilities(self, given: ScorerOutputs) -> Tensor:
        """Mixed log-probabilities over all items, ``[m, n]``."""
        return mix(self.weights, given)

    def learn(self, given: ScorerOutputs, targets: Tensor) -> None:
        """Take an Adam step on what was chosen.

        A step on every 64 targets was measured to be better than two on all 250 of a batch (log-loss
        6.127 and 6.135 on Online Retail, 5.31 and 5.34 on the shop), and is less work.

        Args:
            given: the opinions.
            targets: ``[m]`` rows of the items that were chosen.
        """
        surplus = torch.softmax(blend(self.weights, given), dim=1)
        surplus[torch.arange(len(targets), device=targets.device), targets] -= 1
        self._step(weigh(given, surplus), given.situation)

    def _step(self, gradients: Tensor, situation: Tensor) -> None:
        """Adam (Kingma & Ba 2015), for each situation that occurred."""
        for number in sorted(set(situation.tolist())):
            gradient = gradients[situation == number].mean(dim=0)
            self._taken[number] += 1
            self._mean[number] = torch.lerp(gradient, self._mean[number], DECAYS[0])
            self._square[number] = torch.lerp(gradient.square(), self._square[number], DECAYS[1])
            mean = self._mean[number] / (1 - DECAYS[0] ** self._taken[number])
            square = self._square[number] / (1 - DECAYS[1] ** self._taken[number])
            self.weights[number] -= self._rate * mean / (square.sqrt() + EPSILON)

    def state(self) -> dict[str, Tensor]:
        """Copies of everything, for a checkpoint."""
        named = {"weights": self.weights, "mean": self._mean, "square": self._square, "taken": self._taken}
        return {name: tensor.clone() for name, tensor in named.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what a checkpoint kept."""
        copies = {name: tensor.to(self.weights, copy=True) for name, tensor in state.items()}
        self.weights, self._taken = copies["weights"], copies["taken"]
        self._mean, self._square = copies["mean"], copies["square"]
