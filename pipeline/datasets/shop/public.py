"""The users of the simulated shop: who visits, who is dormant, and each user's regime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.datasets.shop.catalogue import Catalogue
from pipeline.datasets.shop.demand import Demand, draw_demand
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.settings import Drift, Membership, ShopSettings
from pipeline.datasets.shop.tastes import CATEGORIES, NO_FASHION, Tastes, draw_fashion
from pipeline.events import User

CLUB = "club"
"""Name of the attribute of users."""
ACTIVITY_SPREAD = 0.8
"""Standard deviation of the log of a user's visit rate."""


class Regime(NamedTuple):
    """The ground truth of one period: the users' tastes and the demand."""

    tastes: Tastes
    demand: Demand


class Public:
    """The users, with long-tailed activity.

    Args:
        settings: number of users, dormancy and drift.
        catalogue: the items for which a drift draws a new demand.
        demand: the demand under the old regime.

    Attributes:
        regimes: the old regime and, if the settings have a drift, the new one.
    """

    def __init__(self, settings: ShopSettings, catalogue: Catalogue, demand: Demand) -> None:
        self._settings = settings
        rng, order = (generator(settings.seed, purpose) for purpose in (Purpose.PUBLIC, Purpose.ORDER))
        self.regimes = [Regime(Tastes(settings.users, NO_FASHION, rng), demand)]
        if settings.drift is not Drift.NONE:
            self.regimes.append(_new_regime(settings, catalogue))
        activity = rng.lognormal(0, ACTIVITY_SPREAD, settings.users)
        self._bounds = np.cumsum(activity / activity.sum())
        self._dormant = order.permutation(settings.users) < int(settings.dormant * settings.users)
        self._reluctance = order.permutation(settings.users) / settings.users

    def members(self) -> Iterator[User]:
        """Yield the users with the club that each belongs to; none if the shop has no clubs."""
        clubs = self.regimes[0].tastes.favourites()
        match self._settings.membership:
            case Membership.NONE:
                return
            case Membership.NOISE:
                drawn = generator(self._settings.seed, Purpose.MEMBERSHIPS).integers(
                    len(CATEGORIES), size=len(clubs)
                )
                clubs = [CATEGORIES[number] for number in drawn.tolist()]
            case Membership.TASTE:
                pass
        for number, club in enumerate(clubs):
            yield User(user=f"u{number}", attributes={CLUB: club}, time=self._settings.opening_ms)

    def next_visitor(self, rng: np.random.Generator) -> int:
        """Draw the next visitor in proportion to activity."""
        return int(self._bounds.searchsorted(rng.random() * self._bounds[-1], side="right"))

    def is_silent(self, user: int, served: int) -> bool:
        """Return whether the user is dormant after `served` interactions."""
        silence = served - self._settings.dormant_at
        return bool(self._dormant[user]) and 0 <= silence < self._settings.dormant_span

    def regime_of(self, user: int, served: int) -> int:
        """Return the index in `regimes` of the user's regime after `served` interactions."""
        return int(self._reluctance[user] < self._settings.drifted(served))


def _new_regime(settings: ShopSettings, catalogue: Catalogue) -> Regime:
    rng = generator(settings.seed, Purpose.NEW_TASTES)
    tastes = Tastes(settings.users, draw_fashion(rng), rng)
    return Regime(tastes, draw_demand(catalogue, generator(settings.seed, Purpose.NEW_DEMAND)))
