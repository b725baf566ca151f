"""What targets are ranked by: the next item, or what is left of its basket, by the type of the act."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.model.losses import Negatives, draw_negatives, sampled_softmax
from pipeline.state.popularity import DecayedPopularity
from pipeline.training.objectives.port import Ranking
from pipeline.training.objectives.ranking import REST, BasketItems, NextItem, TypeObjectives

CPU = torch.device("cpu")
N = 8
EVERYTHING = Negatives(torch.arange(N), torch.zeros_like)
RANDOM = torch.Generator().manual_seed(0)


def ranking(
    logits: Tensor,
    items: list[int],
    baskets: list[int],
    types: list[int] | None = None,
    drawn: Negatives = EVERYTHING,
) -> Ranking:
    """Targets of users whose logits ``[m, n]`` for all items are given."""
    chosen = torch.tensor(items)
    return Ranking(
        own=lambda user, item: logits[user, chosen[item]],
        negative=logits[:, drawn.items],
        items=chosen,
        baskets=torch.tensor(baskets),
        types=torch.tensor(types or [0] * len(items)),
        drawn=drawn,
    )


def test_the_next_item_is_ranked_by_softmax() -> None:
    logits = torch.randn(3, N, generator=RANDOM)
    found = NextItem().losses(ranking(logits, [1, 2, 2], [1, 1, 2]))
    own = logits.gather(1, torch.tensor([[1], [2], [2]])).squeeze(1)
    torch.testing.assert_close(found, sampled_softmax(own, logits, torch.tensor([1, 2, 2]), EVERYTHING))


def test_the_rest_of_a_basket_is_wanted_and_what_was_drawn_is_not() -> None:
    logits = torch.randn(4, N, generator=RANDOM)
    found = BasketItems().losses(ranking(logits, [1, 2, 3, 4], [1, 1, 1, 2]))
    for user, labels in enumerate(([1, 2, 3], [2, 3], [3], [4])):
        share = torch.sigmoid(torch.log_softmax(logits[user], dim=0))
        torch.testing.assert_close(found[user], -share[labels].log().mean() - (1 - share).log().sum())


def test_a_label_beyond_the_rest_is_not_wanted() -> None:
    items = [0] * REST + [1]
    few = BasketItems().losses(
        ranking(torch.zeros(REST + 1, N).index_fill(1, torch.tensor(1), 1), items, [1] * len(items))
    )
    assert few[0] > few[1]  # item 1, which is likelier than others, is beyond the rest of the first alone


def test_logits_become_the_shares_of_what_is_wanted() -> None:
    """Free logits, trained on draws of which the popular items have more, become log-probabilities."""
    wanted = np.array([0.4, 0.3, 0.2, 0.1])
    popularity = DecayedPopularity(90_000)
    popularity.grow(4)
    popularity.fold(np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]))
    random, logits = np.random.default_rng(0), torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.02)
    for _ in range(400):
        drawn = draw_negatives(popularity, 64, random, CPU)
        items = random.choice(4, size=64, p=wanted).tolist()
        losses = BasketItems().losses(ranking(logits.expand(64, 4), items, list(range(64)), drawn=drawn))
        optimizer.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert np.abs(torch.softmax(logits.detach(), 0).numpy() - wanted).max() < 0.03


def test_types_choose_the_objective() -> None:
    logits = torch.randn(3, N, generator=RANDOM)
    targets = ranking(logits, [1, 2, 3], [1, 1, 1], [4, 0, 4])
    rest, following = BasketItems().losses(targets), NextItem().losses(targets)
    found = TypeObjectives([4], BasketItems(), NextItem()).losses(targets)
    assert torch.equal(found, torch.stack([rest[0], following[1], rest[2]]))
    assert torch.equal(TypeObjectives([5], BasketItems(), NextItem()).losses(targets), following)
    assert torch.equal(TypeObjectives([0, 4], BasketItems(), NextItem()).losses(targets), rest)
