"""The mixer: a few weights that combine the scorers' outputs into one probability.

log p(item) ∝ Σ w · feature, over the log-probabilities of model, covisitation and popularity, the items'
biases, the likeness of texts, the items' trend and the evidence. It is a conditional logit (McFadden 1974),
learned online with Adam, on new events only, before any scorer has learned them. There is one set of weights
for the first item of a basket, which habit and popularity predict better, and one for the items that follow
(measured: HR@20 of first items .22 → .25 on Online Retail). Where the model reads attributes of users, there
is one for a user's first act, of which nothing else is known. And one for discovery, lists for a new basket
that leave out all that the user has acted on: it learns from what was new to users in whole baskets, among
what was, and only the order of the best. The first items teach habit most, which says little of the rest:
measured on lists of Online Retail without what was bought, recall@20 .060 with their weights and .080 with
those of discovery (before there was a trend, .055 and .074; .064 where discovery learned from new first items
as the others do).

What is learned is mostly the order of the best items, the only ones that anybody sees: the log-loss among
the `HEAD` best, where a target that is not one of them teaches nothing (a truncated softmax). The log-loss
over all items is spent on targets that no list would show. A part of it, `WHOLE`, keeps the probabilities
honest. Measured, HR@20, MRR@20 and log-loss: Online Retail .358 .167 6.11 → .366 .176 6.16, 50,000 views of
DIGINETICA .345 .146 7.25 → .351 .152 7.52, the shop .486 .169 5.16 → .488 .170 5.20.

A negative act takes counts back, so no scorer has a weight below zero: a return would raise its item
for everybody else. Nor has `beside`, whose values have no bound that a rejection could outweigh, nor
`related`, by which, as by `alike`, a return would raise what is related to its item. Within a
basket the learner would like one for popularity (-.45 in the simulated shop), because model and
covisitation both know what is popular. It has the biases for that, which are learned, and which a return
changes only because its purchase is no longer replayed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.state.evidence import FACTS, ONE_REPEAT
from pipeline.state.sorted_keys import look_up

SCORERS = ("model", "covisitation", "popularity")
FEATURES = (*SCORERS, "bias", "alike", "trend", *FACTS)
DENSE = len(FEATURES) - len(FACTS)
"""Number of dense features, which have a value for every item; the sparse facts follow them."""
BIAS_SCALE = 10.0
"""Factor on the biases, which are a tenth of the other features, so that Adam's steps fit their weight too.

Measured: log-loss 6.115 with it and 6.119 without on Online Retail, 5.153 and 5.163 in the shop."""
ALIKE, TREND = FEATURES.index("alike"), FEATURES.index("trend")
REPEAT, IN_BASKET, FOLLOWED, BESIDE, REJECTED, RELATED, RECENT = (DENSE + FACTS.index(fact) for fact in FACTS)
NOT_NEGATIVE = [*range(len(SCORERS)), ALIKE, TREND, BESIDE, RELATED]
"""Features whose weights are never below zero."""
REJECTED_WEIGHT, MOST_REJECTED_WEIGHT = -4.0, -1.0
"""Weight of a rejection at the beginning, and the highest that it may learn: a dislike always lowers."""
SITUATIONS = ("within_basket", "first_of_basket", "first_of_user", "discovery")
WITHIN_BASKET, FIRST_OF_BASKET, FIRST_OF_USER, DISCOVERY = range(len(SITUATIONS))
INITIAL_WEIGHTS = (
    (1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.3, -0.5, 0.3, 0.1, REJECTED_WEIGHT, 0.0, 0.0),
    (0.2, 0.2, 0.3, 0.1, 0.0, 0.3, 1.0, -0.5, 0.6, 0.0, REJECTED_WEIGHT, 0.0, 0.0),
    (0.1, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, REJECTED_WEIGHT, 0.0, 0.0),
    (0.1, 0.8, 0.0, 0.0, 0.1, 0.5, 1.0, -0.5, 0.6, 0.0, REJECTED_WEIGHT, 0.0, 0.0),
)
"""By situation; first items are few, and would take long to unlearn the weights of the others. A user's first
act begins with popularity, which is what strangers are shown without attributes, and a little of these.
Discovery begins with covisitation and trend, to which it comes on Online Retail."""
BORN = torch.tensor(INITIAL_WEIGHTS)
ADDED = BESIDE, RELATED, ALIKE, RECENT, TREND
"""Features that were not there from the beginning, in the order in which they came."""
HEAD = 50
"""Best items whose order is learned."""
WHOLE = 0.1
"""Weight of the log-loss over all items; that among the best has the rest of 1."""
FULL_STEP = 64
"""Targets for a step of the full rate; a step of fewer is smaller by the root of the share, for its noise."""
EARLY_STEPS = 30
LEAST_RATE = 0.2
"""The rate falls with the root of the steps, as in the analysis of Adam (Kingma & Ba 2015, theorem 4.1), in
units of `EARLY_STEPS`; but no lower than to this share, because tastes change.

Early, the weights are far from where they serve best; later, a high rate keeps noise in them. Measured on
Online Retail, three seeds, HR@20, MRR@20 and log-loss: .3724 .1825 6.097 at a constant .06, .3734 .1833 6.089
at a rate that falls from .1."""
COVISITATION_FLOOR = 1e-3
"""Added to every share of covisitation, so that the log of a zero share is finite."""
DECAYS = (0.9, 0.999)  # Adam's β₁ and β₂
EPSILON = 1e-4
"""Adam's ε, which keeps rounding errors from becoming steps.

While covisitation has counted nothing, all items have equal shares, and the gradient of its weight is
rounding error. An ε of 1e-8 turns that into full steps: measured, mixtures computed with MKL and with
oneDNN then differed by up to .02 nats a batch, and with 1e-4 by less than .0001. The log-loss over
39,000 purchases of Online Retail is the same (6.1266 with 1e-4, 6.1267 with 1e-8).
"""


@dataclass(frozen=True)
class ScorerOutputs:
    """Outputs of all scorers for m targets over n items: the features, in the order of `FEATURES`.

    The items are all of the catalogue, or each target's candidates (see `pipeline.retrieval`).

    Attributes:
        model: ``[m, n]`` log-probabilities.
        covisitation: ``[m, n]`` log-probabilities.
        popularity: ``[n]`` log-probabilities; ``[m, n]`` of candidates.
        bias: ``[n]`` learned biases of the items, see `from_biases`; ``[m, n]`` of candidates.
        alike: ``[m, n]`` likeness to the latest items, see `pipeline.model.likeness`.
        trend: ``[n]`` how much more often items were acted on lately; ``[m, n]`` of candidates.
        indices, values: ``[3, k]`` and ``[k]``, the nonzero facts, see `pipeline.state.evidence`.
        situation: ``[m]`` index into `SITUATIONS`.
        log_weights: ``[m, n]`` log of how many items a candidate stands for in a sum over all items: 0 if it
            stands for itself, -inf if it is not to be counted. None where each item stands for itself.
        log_sums: ``[m]`` log of the sum over all items by which the model's probabilities were divided; of
            candidates only.
    """

    model: Tensor
    covisitation: Tensor
    popularity: Tensor
    bias: Tensor
    alike: Tensor
    trend: Tensor
    indices: Tensor
    values: Tensor
    situation: Tensor
    log_weights: Tensor | None = None
    log_sums: Tensor | None = None

    @property
    def dense(self) -> tuple[Tensor, ...]:
        """The dense features, in the order of `FEATURES`."""
        return self.model, self.covisitation, self.popularity, self.bias, self.alike, self.trend

    def weighted(self, scores: Tensor) -> Tensor:
        """Add the log-weights to scores ``[m, n]``, for sums over all items."""
        return scores if self.log_weights is None else scores + self.log_weights

    def is_known(self) -> Tensor:
        """Return which items the users of the targets have acted on, ``[m, n]``."""
        known = torch.zeros_like(self.model, dtype=torch.bool)
        fact, target, item = self.indices
        acted = (fact == FACTS.index("repeat")) | (fact == FACTS.index("in_basket"))
        known[target[acted], item[acted]] = True
        return known

    def select(self, chosen: Tensor) -> ScorerOutputs:
        """Return the outputs for chosen targets ``[s]``, given in ascending order."""
        place = torch.full_like(self.situation, -1)
        place[chosen] = torch.arange(len(chosen), device=chosen.device)
        fact, target, item = self.indices
        kept = place[target] >= 0
        model, covisitation, popularity, bias, alike, trend = (
            column if column.ndim == 1 else column[chosen] for column in self.dense
        )
        return ScorerOutputs(
            model,
            covisitation,
            popularity,
            bias,
            alike,
            trend,
            torch.stack([fact[kept], place[target[kept]], item[kept]]),
            self.values[kept],
            self.situation[chosen],
            None if self.log_weights is None else self.log_weights[chosen],
            None if self.log_sums is None else self.log_sums[chosen],
        )

    def without(self, items: Tensor) -> ScorerOutputs:
        """Return these outputs with some items ``[m, n]`` left out of every sum and list."""
        weights = torch.zeros_like(self.model) if self.log_weights is None else self.log_weights
        return replace(self, log_weights=weights.masked_fill(items, -torch.inf))

    def alone(self, scores: Tensor) -> Tensor:
        """Lower the scores ``[m, n]`` of what does not stand for itself to -inf, for lists of the best."""
        return scores if self.log_weights is None else scores.masked_fill(self.log_weights != 0, -torch.inf)


def from_shares(covisitation: Tensor) -> Tensor:
    """Convert covisitation shares ``[m, n]`` to log-probabilities, in place.

    Shares may be zero; `COVISITATION_FLOOR` is added to all.
    """
    covisitation += COVISITATION_FLOOR
    covisitation /= covisitation.sum(dim=1, keepdim=True)
    return covisitation.log_()


def from_biases(bias: Tensor) -> Tensor:
    """Convert the biases ``[n]`` of all items to the feature: centred, and of the size of the others."""
    return BIAS_SCALE * (bias - bias.mean())


def mix(weights: Tensor, outputs: ScorerOutputs) -> Tensor:
    """Compute mixed log-probabilities ``[m, n]`` with weights ``[situations, features]``."""
    blended = blend(weights, outputs)
    if outputs.log_weights is None:
        return torch.log_softmax(blended, dim=1)
    return blended - torch.logsumexp(outputs.weighted(blended), dim=1, keepdim=True)


def blend(weights: Tensor, outputs: ScorerOutputs) -> Tensor:
    """Compute weighted sums of the features, ``[m, n]``, with weights ``[situations, features]``."""
    by_target = weights[outputs.situation]
    model, covisitation, popularity, bias, alike, trend = by_target[:, :DENSE].T.unsqueeze(2)
    mixed: Tensor = (
        (model * outputs.model)
        .addcmul_(covisitation, outputs.covisitation)
        .addcmul_(popularity, outputs.popularity)
        .addcmul_(bias, outputs.bias)
        .addcmul_(alike, outputs.alike)
        .addcmul_(trend, outputs.trend)
    )
    fact, target, item = outputs.indices
    mixed.index_put_((target, item), by_target[target, DENSE + fact] * outputs.values, accumulate=True)
    return mixed


def parts_of(weights: Tensor, outputs: ScorerOutputs, items: Tensor) -> Tensor:
    """Split `blend` of the first target at `items` ``[k]`` into what each feature adds: ``[k, features]``."""
    return torch.from_numpy(features_of(outputs, 0, items.numpy())) * weights[outputs.situation[0]]


def features_of(outputs: ScorerOutputs, target: int, items: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the features of a target's `items` ``[k]``, before they are weighted: ``[k, features]``.

    The outputs are on the CPU. Plain arrays, because a request asks for few items, where tensors take longer.
    """
    found = np.zeros((items.size, len(FEATURES)), dtype=np.float32)
    for number, column in enumerate(outputs.dense):
        dense = column.numpy()
        found[:, number] = (dense[target] if dense.ndim == 2 else dense)[items]
    fact, of_target, item = outputs.indices.numpy()
    order = np.argsort(items)
    at, own = look_up(items[order], item)
    own &= of_target == target
    found[order[at[own]], DENSE + fact[own]] = outputs.values.numpy()[own]
    return found


def weigh(outputs: ScorerOutputs, weights: Tensor) -> Tensor:
    """Sum each feature over the items, weighted by ``[m, n]``: ``[m, features]``.

    This is the transpose of `blend`, so it turns gradients of the sums into gradients of weights.
    It makes no matrix products, whose factors some processors round: of factors in bfloat16 the gradients no
    longer sum to zero (measured in batches of 4,096: log-loss 6.76, not 6.42).
    """
    sums = weights.new_zeros(len(weights), len(FEATURES))
    for number, column in enumerate(outputs.dense):
        sums[:, number] = (weights * column).sum(dim=1)
    fact, target, item = outputs.indices
    sums.index_put_((target, DENSE + fact), weights[target, item] * outputs.values, accumulate=True)
    return sums


class Mixer:
    """The weights ``[situations, features]`` with Adam's two moments."""

    def __init__(self, rate: float, device: torch.device) -> None:
        """Begin with the initial weights."""
        self._rate = rate
        self.weights = torch.tensor(INITIAL_WEIGHTS, device=device)
        self._mean = torch.zeros_like(self.weights)
        self._square = torch.zeros_like(self.weights)
        self._steps = torch.zeros(len(SITUATIONS), 1, device=device)

    def log_probabilities(self, outputs: ScorerOutputs) -> Tensor:
        """Compute mixed log-probabilities over all items, ``[m, n]``."""
        return mix(self.weights, outputs)

    def learn(
        self,
        outputs: ScorerOutputs,
        targets: Tensor,
        is_found: Tensor | None = None,
        later: Tensor | None = None,
    ) -> None:
        """Take an Adam step on the log-loss of the chosen items, most of it among the best ones.

        Measured: a step on every 64 targets is better than two steps on all 250 of a batch (log-loss
        6.127 against 6.135 on Online Retail, 5.31 against 5.34 on the shop), and is less work.

        Args:
            outputs: the outputs of all scorers.
            targets: ``[m]`` indices of the chosen items among the n.
            is_found: ``[m]`` which of them were retrieved; None if all items are scored. One that was only
                joined to the candidates would teach that what looks unlikely is likely.
            later: ``[2, p]`` a target that opens a basket, and the index of an item that was chosen later
                there, for discovery; None of none.
        """
        # Rejections teach their own weight alone. Otherwise the others would learn from one candidate less,
        # and what one user rejects would change for everybody.
        rejects = outputs.indices[0] == FACTS.index("rejected")
        others = replace(outputs, values=outputs.values.masked_fill(rejects, 0))
        gradients = self._gradients(others, targets, is_found)
        if rejects.any():
            gradients[:, REJECTED] = self._gradients(outputs, targets, is_found)[:, REJECTED]
        self._step(gradients, outputs.situation)
        self._learn_discovery(others, targets, is_found, later)

    def _learn_discovery(
        self, outputs: ScorerOutputs, targets: Tensor, is_found: Tensor | None, later: Tensor | None
    ) -> None:
        """Take a step on what is new to users in the baskets that they open, among what is new to them."""
        opening = torch.nonzero(outputs.situation == FIRST_OF_BASKET).flatten()
        if not opening.numel():
            return
        opened = outputs.select(opening)
        known = opened.is_known()
        heard = torch.ones_like(targets, dtype=torch.bool) if is_found is None else is_found
        wanted = _wanted(known, targets[opening], heard[opening], opening, later)
        new = torch.nonzero(wanted.sum(dim=1)).flatten()
        if new.numel():
            among_new = replace(opened.without(known).select(new), situation=torch.full_like(new, DISCOVERY))
            self._step(self._gradients_of_lists(among_new, wanted[new]), among_new.situation)

    def _gradients_of_lists(self, outputs: ScorerOutputs, wanted: Tensor) -> Tensor:
        """Compute the gradients of the log-loss among the best items: ``[m, features]``.

        `wanted` ``[m, n]`` is how much each item counts as a target. What all items together would teach is
        left out, because it is about those that no list shows, and asks for popularity: measured on recorded
        outputs, recall@20 of such lists .070 with it, .074 without.
        """
        blended = blend(self.weights, outputs)
        best, columns = outputs.alone(blended).topk(min(HEAD, blended.shape[1]), dim=1)
        own = wanted.gather(1, columns)
        errors = own.sum(dim=1, keepdim=True) * torch.softmax(best, dim=1) - own
        return weigh(outputs, torch.zeros_like(blended).scatter_(1, columns, errors))

    def _gradients(self, outputs: ScorerOutputs, targets: Tensor, is_found: Tensor | None) -> Tensor:
        """Compute the gradients of the loss of each target by the weights, ``[m, features]``."""
        # Of softmax cross-entropy by the sums: probabilities minus the one-hot target.
        blended, own = blend(self.weights, outputs), targets.unsqueeze(1)
        gradient = WHOLE * torch.softmax(outputs.weighted(blended), dim=1)
        best, columns = outputs.alone(blended).topk(min(HEAD, blended.shape[1]), dim=1)
        is_best = (columns == own).any(dim=1)
        heard = (1 - WHOLE) * (is_best if is_found is None else is_best & is_found).unsqueeze(1)
        gradient.scatter_add_(1, columns, heard * torch.softmax(best, dim=1))
        gradient.scatter_add_(1, own, -WHOLE - heard)
        return weigh(outputs, gradient)

    def _step(self, gradients: Tensor, situation: Tensor) -> None:
        """Update the weights of each situation that occurs, with Adam (Kingma & Ba 2015)."""
        for number in sorted(set(situation.tolist())):
            own = situation == number
            gradient, step = gradients[own].mean(dim=0), float(self._steps[number])
            rate = self._rate * _share_after(step) * _share_of_step(int(own.sum()))
            self._steps[number] += 1
            self._mean[number] = torch.lerp(gradient, self._mean[number], DECAYS[0])
            self._square[number] = torch.lerp(gradient.square(), self._square[number], DECAYS[1])
            mean = self._mean[number] / (1 - DECAYS[0] ** self._steps[number])
            square = self._square[number] / (1 - DECAYS[1] ** self._steps[number])
            self.weights[number] -= rate * mean / (square.sqrt() + EPSILON)
        self._keep_signs()

    def _keep_signs(self) -> None:
        """Keep the scorers from lowering what they suggest, and rejections from raising anything.

        A return also takes a purchase out of the facts. Where they lower what was bought, because nobody
        buys it twice, the rejection must lower it by more.
        """
        self.weights[:, NOT_NEGATIVE] = self.weights[:, NOT_NEGATIVE].clamp(min=0)
        facts = self.weights[:, [REPEAT, IN_BASKET, FOLLOWED, RECENT]].clamp(max=0)
        repeat, in_basket, followed, recent = facts.T
        freed = torch.minimum(repeat * ONE_REPEAT, in_basket + recent) + followed
        rejected = self.weights[:, REJECTED]
        self.weights[:, REJECTED] = torch.minimum(rejected, freed + MOST_REJECTED_WEIGHT)

    def state(self) -> dict[str, Tensor]:
        """Return copies of the weights, the moments and the step counts, for a checkpoint."""
        named = {"weights": self.weights, "mean": self._mean, "square": self._square, "taken": self._steps}
        return {name: tensor.clone() for name, tensor in named.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore the state from a checkpoint; what it lacks of later features and situations begins as at
        birth."""
        copies = {name: tensor.to(self.weights, copy=True) for name, tensor in state.items()}
        self.weights = with_later_parts(copies["weights"], self.weights)
        self._mean = with_later_parts(copies["mean"], self._mean)
        self._square = with_later_parts(copies["square"], self._square)
        self._steps = with_later_situations(copies["taken"], self._steps)


def with_later_parts(known: Tensor, born: Tensor = BORN) -> Tensor:
    """Return a tensor ``[s, k]`` of this or an earlier release with all situations and features.

    Those that it lacks are as in `born`.
    """
    for at in sorted(ADDED[known.shape[1] - len(FEATURES) + len(ADDED) :]):
        added = born[: len(known), at : at + 1].to(known)
        known = torch.cat([known[:, :at], added, known[:, at:]], dim=1)
    return with_later_situations(known, born)


def with_later_situations(known: Tensor, born: Tensor) -> Tensor:
    """Return a tensor ``[s, k]`` of any release with all situations; those that it lacks are as in `born`."""
    return torch.cat([known, born[len(known) :].to(known)])


def _wanted(known: Tensor, targets: Tensor, heard: Tensor, opening: Tensor, later: Tensor | None) -> Tensor:
    """How much items count that were new to the users who opened a basket: ``[o, n]``, 1 of each or none.

    Half is what opened it, half are the later ones together. Later ones alone make better lists and a worse
    first item: measured in the simulated shop, HR@20 of new first items .1105, with them .1157.

    Args:
        known: ``[o, n]`` which items the users have acted on.
        targets, heard: ``[o]`` what opened it, and whether it is to teach anything.
        opening: ``[o]`` number of the target, ascending.
        later: ``[2, p]`` see `Mixer.learn`.
    """
    wanted = torch.zeros_like(known, dtype=torch.float32)
    if later is not None:
        wanted[torch.searchsorted(opening, later[0]), later[1]] = 1
        wanted.masked_fill_(known, 0)
    wanted /= wanted.sum(dim=1, keepdim=True).clamp(min=1)
    wanted.scatter_add_(1, targets.unsqueeze(1), heard.float().unsqueeze(1))
    wanted.masked_fill_(known, 0)
    return wanted / wanted.sum(dim=1, keepdim=True).clamp(min=1)


def _share_after(steps: float) -> float:
    return max(LEAST_RATE, 1 / math.sqrt(1 + steps / EARLY_STEPS))


def _share_of_step(targets: int) -> float:
    return min(1.0, math.sqrt(targets / FULL_STEP))
