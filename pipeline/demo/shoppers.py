"""Sample users of the data set: what they bought before the end of the demo, and what next."""

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
    """A user, with the titles of their last purchases (latest first) and of their next ones."""

    user: str
    before: list[str]
    after: list[str]


def shoppers(dataset: Dataset, limit: int, count: int) -> list[Shopper]:
    """Return the `count` known users who buy most in the LOOK_AHEAD interactions after `limit`."""
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
            _record(event, titles.get(event.item, event.item), before, after if number > limit else None)
    busiest = Counter({user: len(bought) for user, bought in after.items() if user in before})
    return [
        Shopper(user, list(before[user])[::-1], list(dict.fromkeys(after[user]))[:SHOWN])
        for user, _ in busiest.most_common(count)
    ]


def _record(
    event: Interaction, title: str, before: dict[str, deque[str]], after: dict[str, list[str]] | None
) -> None:
    if after is None:
        before.setdefault(event.user, deque(maxlen=SHOWN)).append(title)
    else:
        after.setdefault(event.user, []).append(title)
