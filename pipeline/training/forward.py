"""One forward pass over Segments: user vectors for scoring, and losses for learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.model.device import padded
from pipeline.model.item_table import ItemTable, Rows
from pipeline.model.losses import Negatives
from pipeline.model.recommender import Recommender
from pipeline.model.sequences import pack
from pipeline.state.segments import Segment
from pipeline.training.objectives.port import Ranking, Supervised
from pipeline.training.objectives.ranking import NextItem

NEXT_ITEM = NextItem()
LEAST_WEIGHT = 1e-9
"""Instead of a sum of weights that is zero."""


@dataclass(frozen=True)
class Pass:
    """The result of a forward pass for m targets.

    Attributes:
        users: ``[m, d]`` user vector before each target.
        items: ``[m]`` the targets' catalogue rows.
        new: ``[m]`` whether a target is new; the others are replayed.
        weights: ``[m]`` weight of each target's act; 0 of a user's first act, which `introduction` alone
            learns, so that all else is learned as without attributes.
        losses: ``[m]`` loss of each target.
        introduction: mean loss of the new targets by what attributes of users alone say; 0 without any.
        touched: ``[n]`` the distinct catalogue rows that the pass used, and then row 0 repeated as padding.
        rows: their table rows; they hold the gradients after `backward`.
    """

    users: Tensor
    items: Tensor
    new: Tensor
    weights: Tensor
    losses: Tensor
    introduction: Tensor
    touched: Tensor
    rows: Rows

    def mean_loss(self, chosen: Tensor) -> Tensor:
        """Mean loss of the chosen targets by weight; 0 if there are none, or none has a weight."""
        losses, weights = self.losses[chosen], self.weights[chosen]
        return (losses * weights).sum() / weights.sum().clamp_min(LEAST_WEIGHT)


def forward(
    recommender: Recommender,
    table: ItemTable,
    segments: Sequence[Segment],
    negatives: Negatives,
    objective: Supervised = NEXT_ITEM,
) -> Pass:
    """Run Segments, each with at least one target, through the tower against the negatives.

    Targets are the new acts of a Segment, and all acts of one that has no new ones, which is replayed. What
    was learned before and stands before new acts is their context alone: learned again, it would be half of
    all targets of sessions, and gain next to nothing (docs/benchmarks.md).
    """
    device = negatives.items.device
    packed = pack([segment.cut(0, len(segment) - 1) for segment in segments], device)
    acts = packed.items.flatten()[packed.indices]
    after, vectors_of, items, new, weights, baskets, types, owners = (
        torch.from_numpy(array).to(device) for array in _targets(segments)
    )
    m = items.numel()
    items = padded(items)
    touched, where = _gather(torch.cat([acts, items, negatives.items]))

    rows = table.rows(touched)
    sizes = [acts.numel(), items.numel(), negatives.items.numel()]
    vectors = recommender.item_vectors(rows, table.has_content)[where]
    of_acts, of_items, of_negatives = torch.split(vectors, sizes)
    _, bias_of_items, bias_of_negatives = torch.split(rows.bias[where], sizes)
    users = recommender.user_vectors(of_acts, packed, after)
    said = recommender.introduction.vectors([segment.attributes for segment in segments], device)
    introduction = users.new_zeros(())
    if len(said):
        users = torch.cat([users, said])
        known = torch.tensor([bool(segment.attributes) for segment in segments], device=device)
        compared = said[padded(owners)], of_items.detach(), of_negatives.detach()
        biases = bias_of_items.detach(), bias_of_negatives.detach()
        shares = weights * new * known[owners]
        introduction = _introduction(recommender, items, negatives, compared, biases, shares)
        weights = weights * (vectors_of < after.numel())
    users = users[padded(vectors_of)]

    def own(user: Tensor, item: Tensor) -> Tensor:
        return recommender.own_logits(users[user], of_items[item], bias_of_items[item])

    negative = recommender.logits(users, of_negatives, bias_of_negatives)
    losses = objective.losses(Ranking(own, negative, items, padded(baskets), padded(types), negatives))
    return Pass(users[:m], items[:m], new, weights, losses[:m], introduction, touched, rows)


def _introduction(
    recommender: Recommender,
    items: Tensor,
    negatives: Negatives,
    vectors: tuple[Tensor, Tensor, Tensor],
    biases: tuple[Tensor, Tensor],
    shares: Tensor,
) -> Tensor:
    """Compute the mean loss of targets by what attributes alone say; only the maps of these have a gradient.

    All acts of a user teach it, not only the first, of which there is one.

    Args:
        recommender: gives the scale.
        items: ``[p]`` the targets, with padding.
        negatives: what they are compared with.
        vectors: ``[p, d]`` of what is said and of the targets, and ``[k, d]`` of the negatives.
        biases: of the targets, and of the negatives.
        shares: ``[m]`` weights of the targets.
    """
    (said, of_items, of_negatives), scale = vectors, recommender.log_scale.detach().exp()

    def own(user: Tensor, item: Tensor) -> Tensor:
        return scale * (said[user] * of_items[item]).sum(dim=1) + biases[0][item]

    negative = torch.addmm(biases[1], scale * said, of_negatives.T)
    unnamed = torch.zeros_like(items)
    losses = NEXT_ITEM.losses(Ranking(own, negative, items, unnamed, unnamed, negatives))[: shares.numel()]
    return (losses * shares).sum() / shares.sum().clamp_min(LEAST_WEIGHT)


def _gather(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct values of `rows` ``[k]``, padded to one of a few sizes, and each row's index.

    The padding repeats a row; its gradients are zero.
    """
    distinct, where = torch.unique(rows, return_inverse=True)
    return padded(distinct), where


def _targets(segments: Sequence[Segment]) -> tuple[NDArray[Any], ...]:
    """Describe each target.

    Returns:
        ``[k]`` numbers of the acts before targets, among all acts but the last of each segment; then ``[m]``
        each: the index of the act before it among those, or of its segment after them for a first act; its
        item, whether it is new, its weight, its basket's number, from 1 over all Segments, its type, and the
        number of its segment.
    """
    is_replayed = np.array([segment.first_new == len(segment) for segment in segments])
    targets = [
        segment.foreseeable if again else segment.targets
        for segment, again in zip(segments, is_replayed.tolist(), strict=True)
    ]
    owners = np.repeat(np.arange(len(segments)), [own.size for own in targets])
    positions, lengths = np.concatenate(targets), np.array([len(segment) for segment in segments])
    at = (lengths.cumsum() - lengths)[owners] + positions
    items, types, weights, baskets = (
        np.concatenate([getattr(segment, name) for segment in segments])[at]
        for name in ("items", "types", "weights", "baskets")
    )
    first_baskets = np.cumsum([1] + [int(segment.baskets[-1]) + 1 for segment in segments])[owners]
    has_acts = positions > 0
    after = (at - owners - 1)[has_acts]
    vectors_of = np.where(has_acts, np.cumsum(has_acts) - 1, after.size + owners)
    is_new, shares = ~is_replayed[owners], weights.astype(np.float32)
    return after, vectors_of, items, is_new, shares, first_baskets + baskets, types, owners
