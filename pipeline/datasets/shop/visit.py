"""One user's visit to the simulated shop: the true probabilities of the next act, and the act."""

from __future__ import annotations

import numpy as np

from pipeline.datasets.shop.catalogue import Catalogue, Floats
from pipeline.datasets.shop.words import THEMES
from pipeline.events import InteractionType

SAME_STYLE = 2.5
"""How much more an item in the style of the last chosen one is sought."""
PARTNER = 12.0
"""How much more a partner of the last chosen item is sought."""
SAME_CATEGORY, ELSEWHERE = 0.04, 0.003
"""How much items outside the mission's theme are sought, against 1 within it."""
FOLLOW_UP = 0.5
"""Probability that a view is followed by the purchase of what was viewed."""
TYPES = (InteractionType.PURCHASE, InteractionType.VIEW, InteractionType.CART)
TYPE_SHARES = (0.84, 0.12, 0.04)

_CATEGORIES = np.array([theme.category for theme in THEMES])
_PULL = np.where(_CATEGORIES[:, None] == _CATEGORIES, SAME_CATEGORY, ELSEWHERE)
np.fill_diagonal(_PULL, 1.0)
_TYPE_BOUNDS = np.cumsum(TYPE_SHARES[:-1])


class Visit:
    """A multinomial logit choice (McFadden 1974) for each act, under a mission that is never drawn.

    The mission is a theme. Instead of drawing it, the visit holds the belief over missions that
    the choices so far leave, and draws from the mixture: the baskets are the same, and what
    generates them is at once the best possible forecast for one who knows the tastes.

    Args:
        catalogue: of which the first ``len(attraction)`` items are in the shop.
        attraction: how much each of those draws this user today, as weights (n).
        missions: probability of each theme to be what the user came for (themes).
    """

    def __init__(self, catalogue: Catalogue, attraction: Floats, missions: Floats) -> None:
        self._catalogue = catalogue
        self._listed = len(attraction)
        self._theme = catalogue.theme[: self._listed]
        self._attraction = attraction.copy()
        self._belief = missions
        self._viewed: int | None = None
        self._weigh(self._attraction)

    def probabilities(self) -> Floats:
        """The true probability of each listed item to be in the next act (n); sums to 1."""
        theme_factors = (self._belief / self._totals) @ _PULL
        chances = self._weights * theme_factors[self._theme]
        if self._viewed is not None:
            chances *= 1 - FOLLOW_UP
            chances[self._viewed] = FOLLOW_UP
        return np.asarray(chances)

    def act(self, probabilities: Floats, rng: np.random.Generator) -> tuple[int, InteractionType]:
        """Draw the next act from `probabilities()`: the item's index, and what is done with it."""
        bounds = np.cumsum(probabilities)
        item = int(bounds.searchsorted(rng.random() * bounds[-1], side="right"))
        if item == self._viewed:
            self._viewed = None
            return item, InteractionType.PURCHASE
        act = TYPES[int(_TYPE_BOUNDS.searchsorted(rng.random()))]
        self._choose(item)
        self._viewed = item if act is InteractionType.VIEW else None
        return item, act

    def _choose(self, item: int) -> None:
        """Learn from the choice what the mission may be, and turn to what goes with the item."""
        shop, listed = self._catalogue, self._listed
        belief = self._belief * _PULL[self._theme[item]] / self._totals
        self._belief = belief / belief.sum()
        self._attraction[item] = 0.0  # nothing is chosen twice
        weights = self._attraction * shop.complement[shop.product[item]][shop.product[:listed]]
        weights[shop.style[:listed] == shop.style[item]] *= SAME_STYLE
        partners = shop.partners[item]
        weights[partners[partners < listed]] *= PARTNER
        self._weigh(weights)

    def _weigh(self, weights: Floats) -> None:
        """How much each item is sought, mission aside (n), and in total under each mission (themes)."""
        self._weights = weights
        self._totals = _PULL @ np.bincount(self._theme, weights, len(THEMES))
