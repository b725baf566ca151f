"""One user's visit to the simulated shop: the true probabilities of the next act, and the act."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import Catalogue, Floats
from pipeline.datasets.shop.demand import Demand
from pipeline.datasets.shop.slates import Slate
from pipeline.datasets.shop.words import THEMES
from pipeline.events import InteractionType

SAME_STYLE = 2.5
"""How much more an item in the style of the last chosen one is sought."""
PARTNER = 12.0
"""How much more a partner of the last chosen item is sought."""
SAME_CATEGORY, ELSEWHERE = 0.04, 0.003
"""How much items outside the mission's theme are sought, against 1 within it."""
FOLLOW_UP = 0.5
"""Probability that a view or click is followed by the purchase of what was viewed."""
TYPES = (InteractionType.PURCHASE, InteractionType.VIEW, InteractionType.CART)
TYPE_SHARES = (0.84, 0.12, 0.04)
LOOKS = (InteractionType.VIEW, InteractionType.CLICK)

_CATEGORIES = np.array([theme.category for theme in THEMES])
_PULL = np.where(_CATEGORIES[:, None] == _CATEGORIES, SAME_CATEGORY, ELSEWHERE)
np.fill_diagonal(_PULL, 1.0)
_TYPE_BOUNDS = np.cumsum(TYPE_SHARES[:-1])


class Act(NamedTuple):
    """What is done with the item of the given index, and the impression that led to it."""

    item: int
    type: InteractionType
    impression: str | None


class Visit:
    """A multinomial logit choice (McFadden 1974) for each act, under a mission that is never drawn.

    The mission is a theme. Instead of drawing it, the visit holds the belief over missions that
    the choices so far leave, and draws from the mixture: the baskets are the same, and what
    generates them is at once the best possible forecast for one who knows the tastes.

    Args:
        catalogue: of which the first ``len(attraction)`` items are in the shop.
        demand: what goes with what has been chosen.
        attraction: how much each of those draws this user today, as weights (n).
        missions: probability of each theme to be what the user came for (themes).

    Attributes:
        listed: how many items there were when the visit began; later ones are not seen.
    """

    def __init__(self, catalogue: Catalogue, demand: Demand, attraction: Floats, missions: Floats) -> None:
        self._catalogue = catalogue
        self._demand = demand
        self.listed = len(attraction)
        self._theme = catalogue.theme[: self.listed]
        self._attraction = attraction.copy()
        self._belief = missions
        self._looked_at: Act | None = None
        self._weigh(self._attraction)

    @property
    def is_looking(self) -> bool:
        """Whether the user is looking at an item, and not at the shop."""
        return self._looked_at is not None

    def probabilities(self) -> Floats:
        """The true probability of each listed item to be in the next act (n); sums to 1."""
        theme_factors = (self._belief / self._totals) @ _PULL
        chances = self._weights * theme_factors[self._theme]
        if self._looked_at is not None:
            chances *= 1 - FOLLOW_UP
            chances[self._looked_at.item] = FOLLOW_UP
        return np.asarray(chances)

    def act(self, probabilities: Floats, slate: Slate | None, rng: np.random.Generator) -> Act:
        """Draw the next act from `probabilities()`, as swayed by the slate if one is shown."""
        bounds = np.cumsum(probabilities)
        item = int(bounds.searchsorted(rng.random() * bounds[-1], side="right"))
        if self._looked_at is not None and item == self._looked_at.item:
            look, self._looked_at = self._looked_at, None
            return look._replace(type=InteractionType.PURCHASE)
        act = _first_act(item, slate, rng)
        self._choose(item)
        self._looked_at = act if act.type in LOOKS else None
        return act

    def withdraw(self, item: int) -> None:
        """Take a listed item from the shelf while the visitor is there."""
        if self._looked_at is not None and self._looked_at.item == item:
            self._looked_at = None
        self._attraction[item] = 0.0
        weights = self._weights.copy()
        weights[item] = 0.0
        self._weigh(weights)

    def _choose(self, item: int) -> None:
        """Learn from the choice what the mission may be, and turn to what goes with the item."""
        shop, listed = self._catalogue, self.listed
        belief = self._belief * _PULL[self._theme[item]] / self._totals
        self._belief = belief / belief.sum()
        self._attraction[item] = 0.0  # nothing is chosen twice
        complement = self._demand.complement[shop.product[item]]
        weights = self._attraction * complement[shop.product[:listed]]
        weights[shop.style[:listed] == shop.style[item]] *= SAME_STYLE
        partners = self._demand.partners[item]
        weights[partners[partners < listed]] *= PARTNER
        self._weigh(weights)

    def _weigh(self, weights: Floats) -> None:
        """How much each item is sought, mission aside (n), and in total under each mission (themes)."""
        self._weights = weights
        self._totals = _PULL @ np.bincount(self._theme, weights, len(THEMES))


def _first_act(item: int, slate: Slate | None, rng: np.random.Generator) -> Act:
    if slate is not None and slate.earns(item, rng):
        return Act(item, InteractionType.CLICK, slate.impression)
    return Act(item, TYPES[int(_TYPE_BOUNDS.searchsorted(rng.random()))], None)
