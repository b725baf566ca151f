"""One user's visit to the simulated shop: the true probabilities of the next act, and its draw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import Catalogue, Floats
from pipeline.datasets.shop.demand import Demand
from pipeline.datasets.shop.slates import Slate
from pipeline.datasets.shop.words import THEMES
from pipeline.events import InteractionType

SAME_STYLE = 2.5
"""Factor on the weight of items in the style of the last chosen item."""
PARTNER = 12.0
"""Factor on the weight of partners of the last chosen item."""
SAME_CATEGORY, ELSEWHERE = 0.04, 0.003
"""Factors on the weight of items outside the mission's theme; within it the factor is 1."""
FOLLOW_UP = 0.5
"""Probability that a view or click is followed by the purchase of the same item."""
TYPES = (InteractionType.PURCHASE, InteractionType.VIEW, InteractionType.CART)
TYPE_SHARES = (0.84, 0.12, 0.04)
LOOKS = (InteractionType.VIEW, InteractionType.CLICK)

_CATEGORIES = np.array([theme.category for theme in THEMES])
_PULL = np.where(_CATEGORIES[:, None] == _CATEGORIES, SAME_CATEGORY, ELSEWHERE)
np.fill_diagonal(_PULL, 1.0)
_TYPE_BOUNDS = np.cumsum(TYPE_SHARES[:-1])


class Act(NamedTuple):
    """An act on the item with the given index, and the impression that led to it."""

    item: int
    type: InteractionType
    impression: str | None


class Visit:
    """A multinomial logit choice (McFadden 1974) for each act, with the mission marginalised out.

    The mission is a theme. Instead of drawing it, the visit holds the posterior belief over
    missions, given the choices so far, and draws from the mixture. The baskets have the same
    distribution, and the generating probabilities are also the best possible forecast for an
    oracle that knows the tastes.

    Args:
        catalogue: its first ``len(attraction)`` items are in the shop.
        demand: complements and partners of the chosen items.
        attraction: weight of each listed item for this user today (n).
        missions: prior probability of each theme to be the mission (themes).
        style: weight of styles in choices, see `ShopSettings`.

    Attributes:
        listed: number of items when the visit began; the visitor does not see later ones.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        demand: Demand,
        attraction: Floats,
        missions: Floats,
        style: float = 1.0,
    ) -> None:
        self._catalogue = catalogue
        self._demand = demand
        self.listed = len(attraction)
        self._theme = catalogue.theme[: self.listed]
        self._attraction = attraction.copy()
        self._belief = missions
        self._same_style = SAME_STYLE**style
        self._looked_at: Act | None = None
        self._set_weights(self._attraction)

    @property
    def is_looking(self) -> bool:
        """Whether the last act was a look at an item, which may be purchased next."""
        return self._looked_at is not None

    def probabilities(self) -> Floats:
        """Return the true probability of each listed item to be in the next act (n); they sum to 1."""
        theme_factors = (self._belief / self._totals) @ _PULL
        chances = self._weights * theme_factors[self._theme]
        if self._looked_at is not None:
            chances *= 1 - FOLLOW_UP
            chances[self._looked_at.item] = FOLLOW_UP
        return np.asarray(chances)

    def act(self, probabilities: Floats, slate: Slate | None, rng: np.random.Generator) -> Act:
        """Draw the next act from `probabilities()`, or from `slate.sway` of them if a slate is shown."""
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
        """Remove a listed item that sells out during the visit."""
        if self._looked_at is not None and self._looked_at.item == item:
            self._looked_at = None
        self._attraction[item] = 0.0
        weights = self._weights.copy()
        weights[item] = 0.0
        self._set_weights(weights)

    def _choose(self, item: int) -> None:
        """Update the belief over missions by the choice, and the weights by the chosen item."""
        shop, listed = self._catalogue, self.listed
        belief = self._belief * _PULL[self._theme[item]] / self._totals
        self._belief = belief / belief.sum()
        self._attraction[item] = 0.0  # no item is chosen twice in a visit
        complement = self._demand.complement[shop.product[item]]
        weights = self._attraction * complement[shop.product[:listed]]
        weights[shop.style[:listed] == shop.style[item]] *= self._same_style
        partners = self._demand.partners[item]
        weights[partners[partners < listed]] *= PARTNER
        self._set_weights(weights)

    def _set_weights(self, weights: Floats) -> None:
        """Set the weight of each item without the mission (n), and their sum under each mission (themes)."""
        self._weights = weights
        self._totals = _PULL @ np.bincount(self._theme, weights, len(THEMES))


def _first_act(item: int, slate: Slate | None, rng: np.random.Generator) -> Act:
    if slate is not None and slate.earns(item, rng):
        return Act(item, InteractionType.CLICK, slate.impression)
    return Act(item, TYPES[int(_TYPE_BOUNDS.searchsorted(rng.random()))], None)
