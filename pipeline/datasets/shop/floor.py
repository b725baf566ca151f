"""The simulation of the shop: visits that overlap in time, and their acts."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import Floats, make_catalogue
from pipeline.datasets.shop.demand import draw_demand
from pipeline.datasets.shop.looks import with_looks
from pipeline.datasets.shop.public import Public
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import MAX_ACTS, Modality, ShopSettings
from pipeline.datasets.shop.shelves import Shelves
from pipeline.datasets.shop.slates import LoggingPolicy, Slate
from pipeline.datasets.shop.visit import Act, Visit
from pipeline.events import Impression, Interaction, InteractionType, Item, User

MEAN_ACTS = 6
"""Mean number of acts in a visit; geometrically distributed."""
MEAN_MS_BETWEEN_VISITS = 240_000
MEAN_MS_BETWEEN_ACTS = 40_000
LOYALTY = 4.0
"""Factor on the weight of an item that the user has bought before."""
LOYAL_PURCHASES = 100
"""Number of a user's last purchases to which LOYALTY applies."""
POLICY_NAME, POLICY_VERSION = "shop-popularity", "1"
"""The policy of impressions; its name is their snapshot, too."""


class Choice(NamedTuple):
    """An interaction and the probabilities that it was drawn from.

    `probabilities` are of the first n items in order of arrival, given the user's tastes, the
    basket so far and the slate, but not the mission; no forecast can be better. `regime` is the
    user's regime since the visit began: 0 for the old one, 1 for the new one.
    """

    interaction: Interaction
    probabilities: Floats
    regime: int


class _Open(NamedTuple):
    """A visit in progress; visits are ordered by the time of their next act."""

    due: int
    number: int
    user: int
    regime: int
    acts_left: int
    visit: Visit


class Floor:
    """The state of the simulation: open visits, listed items and past purchases.

    Args:
        settings: settings of the shop.
        prefix: prefix of its event ids.
    """

    def __init__(self, settings: ShopSettings, prefix: str) -> None:
        self._prefix = prefix
        self._rng = generator(settings.seed, Purpose.ACTS)
        catalogue_rng = generator(settings.seed, Purpose.CATALOGUE)
        self._catalogue = with_looks(
            make_catalogue(settings.items, catalogue_rng, settings.modality is Modality.NONE), settings
        )
        demand = draw_demand(self._catalogue, catalogue_rng)
        self._public = Public(settings, self._catalogue, demand)
        self._shelves = Shelves(settings, self._catalogue)
        self._policy = LoggingPolicy(settings, prefix) if settings.slate else None
        self._bought = [deque[int](maxlen=LOYAL_PURCHASES) for _ in range(settings.users)]
        self._style = settings.style
        self._served = 0
        self._visits = itertools.count()
        self._time = self._next_visit = settings.opening_ms
        self._open: list[_Open] = []

    def open(self) -> Iterator[Item]:
        """Yield the items of the opening."""
        for item in self._catalogue.items[: self._shelves.listed]:
            yield item.model_copy(update={"time": self._time})

    def members(self) -> Iterator[User]:
        """Yield the users, if they belong to clubs."""
        return self._public.members()

    def serve(self) -> Iterator[Impression | Choice]:
        """Simulate the next act: yield the Impression shown before it, if any, then the Choice."""
        while not self._open or self._next_visit <= self._open[0].due:
            self._begin_visit()
        open_visit = self._open[0]
        self._time = open_visit.due
        slate = self._slate(open_visit.visit)
        probabilities = open_visit.visit.probabilities()
        if slate is not None:
            probabilities = slate.sway(probabilities)
            yield self._impression(open_visit.user, slate)
        act = open_visit.visit.act(probabilities, slate, self._rng)
        yield Choice(self._interaction(open_visit, act), probabilities, open_visit.regime)
        self._record(open_visit.user, act)
        self._schedule_next(open_visit)

    def stock(self) -> Iterator[Item]:
        """Yield the items that arrive or change after the latest act."""
        for row, item in self._shelves.changes(self._served):
            if not item.available:
                self._withdraw(row)
            yield item.model_copy(update={"time": self._time})

    def _begin_visit(self) -> None:
        """Begin the next visit, unless its user is still in the shop or dormant."""
        begin = self._next_visit
        self._next_visit += 1 + int(self._rng.exponential(MEAN_MS_BETWEEN_VISITS))
        user = self._public.next_visitor(self._rng)
        if any(user == visit.user for visit in self._open) or self._public.is_silent(user, self._served):
            return
        regime = self._public.regime_of(user, self._served)
        tastes, demand = self._public.regimes[regime]
        tastes.wander(user)
        attraction = self._attraction(user, tastes.styles(user) ** self._style, demand.appeal)
        visit = Visit(self._catalogue, demand, attraction, tastes.missions(user), self._style)
        acts = min(int(self._rng.geometric(1 / MEAN_ACTS)), MAX_ACTS)
        heapq.heappush(self._open, _Open(begin, next(self._visits), user, regime, acts, visit))

    def _attraction(self, user: int, styles: Floats, appeal: Floats) -> Floats:
        """Return the weight of each listed item for the user: appeal × novelty × style × loyalty."""
        listed = slice(self._shelves.listed)
        attraction = (
            appeal[listed] * self._shelves.boosts(self._served) * styles[self._catalogue.style[listed]]
        )
        attraction[list(self._bought[user])] *= LOYALTY
        return np.asarray(attraction)

    def _slate(self, visit: Visit) -> Slate | None:
        """Draw the slate before an act; None if the visitor is looking at an item or slates are off."""
        if self._policy is None or visit.is_looking:
            return None
        return self._policy.show(self._shelves.on_sale[: visit.listed])

    def _record(self, user: int, act: Act) -> None:
        self._served += 1
        if act.type is InteractionType.PURCHASE:
            self._bought[user].append(act.item)
        if self._policy is not None:
            self._policy.count(act.item)

    def _schedule_next(self, visit: _Open) -> None:
        """End the visit, or schedule its next act."""
        if visit.acts_left > 1:
            later = visit.due + 1 + int(self._rng.exponential(MEAN_MS_BETWEEN_ACTS))
            heapq.heapreplace(self._open, visit._replace(due=later, acts_left=visit.acts_left - 1))
        else:
            heapq.heappop(self._open)

    def _withdraw(self, item: int) -> None:
        for open_visit in self._open:
            open_visit.visit.withdraw(item)

    def _interaction(self, visit: _Open, act: Act) -> Interaction:
        return Interaction(
            event_id=f"{self._prefix}-{self._served}",
            user=f"u{visit.user}",
            item=self._catalogue.items[act.item].item,
            type=act.type,
            time=self._time,
            session=f"v{visit.number}",
            impression=act.impression,
        )

    def _impression(self, user: int, slate: Slate) -> Impression:
        return Impression(
            impression_id=slate.impression,
            user=f"u{user}",
            snapshot=POLICY_NAME,
            time=self._time,
            items=tuple(self._catalogue.items[index].item for index in slate.items.tolist()),
            scores=tuple(slate.scores.tolist()),
            policy=POLICY_NAME,
            policy_version=POLICY_VERSION,
            propensities=tuple(slate.propensities.tolist()),
            pool=slate.pool,
            offsets={},
        )
