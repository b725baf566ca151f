"""A few users of the data set: what they did before the demo's end, and what they did next."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from pipeline.datasets import Dataset
from pipeline.events import Interaction, InteractionType, Item

BOUGHT = (InteractionType.PURCHASE, InteractionType.CART)
LOOK_AHEAD = 3_000
SHOWN = 6


@dataclass(frozen=True)
class Shopper:
    """A user, and titles of what they bought last (latest first) and bought next."""

    user: str
    before: list[str]
    after: list[str]


def shoppers(dataset: Dataset, limit: int, amount: int) -> list[Shopper]:
    """The users who buy most within the interactions after the first `limit`."""
    titles: dict[str, str] = {}
    before: dict[str, deque[str]] = {}
    after: dict[str, list[str]] = {}
    number = 0
    for event in dataset.events():
        if isinstance(event, Item):
            titles[event.item] = event.title
        if not isinstance(event, Interaction):
            continue
        number += 1
        if number > limit + LOOK_AHEAD:
            break
        if event.type in BOUGHT:
            _remember(event, titles.get(event.item, event.item), before, after if number > limit else None)
    busiest = Counter({user: len(bought) for user, bought in after.items() if user in before})
    return [
        Shopper(user, list(before[user])[::-1], list(dict.fromkeys(after[user]))[:SHOWN])
        for user, _ in busiest.most_common(amount)
    ]


def _remember(
    event: Interaction, title: str, before: dict[str, deque[str]], after: dict[str, list[str]] | None
) -> None:
    if after is None:
        before.setdefault(event.user, deque(maxlen=SHOWN)).append(title)
    else:
        after.setdefault(event.user, []).append(title)
