"""What the users of the environment like: the ground truth, which no learner sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.shop.catalogue import PRODUCTS, Catalogue, Floats, Integers
from pipeline.datasets.shop.demand import Demand, draw_demand
from pipeline.datasets.shop.environment.settings import EnvironmentSettings
from pipeline.datasets.shop.environment.weariness import CATEGORY_OF
from pipeline.datasets.shop.randomness import Purpose, generator
from pipeline.datasets.shop.tastes import NO_FASHION, Fashion, Tastes, draw_fashion
from pipeline.datasets.shop.words import THEMES

MOST_CLICKS = 0.5
"""Probability of a click on what a rested user likes best."""
CLICK_LEVEL = -1.0
"""Log-odds of MOST_CLICKS for an item of average taste and appeal."""
PURCHASE_LEVEL, PURCHASE_SPREAD = -1.5, 1.0
"""Mean and standard deviation, over products, of the log-odds that a click is followed by a purchase."""


@dataclass(frozen=True)
class Preferences:
    """What is liked, in log-odds, and how often a click is followed by a purchase.

    Attributes:
        own: log-odds of each user for each item by the user's own taste (users, n).
        old, new: the same, with the fashion and the appeal of items before and after a drift (users, n).
        popularity: log of each item's appeal at the opening, with mean 0 (n).
        conversion: log-odds of a purchase after a click on each item (n).
        categories: index into CATEGORIES of each item's category (n).
    """

    own: Floats
    old: Floats
    new: Floats
    popularity: Floats
    conversion: Floats
    categories: Integers

    def clicks(self, *, drifted: bool) -> Floats:
        """Return the probability that a rested user clicks an item that is shown (users, n)."""
        return click_probability(self.new if drifted else self.old)

    @property
    def purchases(self) -> Floats:
        """Probability that a click is followed by a purchase (n)."""
        return sigmoid(self.conversion)


def draw_preferences(settings: EnvironmentSettings, catalogue: Catalogue, demand: Demand) -> Preferences:
    """Draw what is liked. A drift changes fashion and demand; users and their own tastes stay."""
    fashions = generator(settings.seed, Purpose.FASHIONS)
    old, new = draw_fashion(fashions), draw_fashion(fashions)
    conversions = generator(settings.seed, Purpose.CONVERSIONS)
    by_product = conversions.normal(PURCHASE_LEVEL, PURCHASE_SPREAD, len(PRODUCTS))
    popularity = _popularity(demand)
    new_popularity = _popularity(draw_demand(catalogue, generator(settings.seed, Purpose.NEW_DEMAND)))
    return Preferences(
        own=_log_odds(settings, catalogue, NO_FASHION),
        old=_log_odds(settings, catalogue, old) + popularity,
        new=_log_odds(settings, catalogue, new) + new_popularity,
        popularity=popularity,
        conversion=by_product[catalogue.product],
        categories=CATEGORY_OF[catalogue.theme],
    )


def click_probability(log_odds: Floats) -> Floats:
    """Return the probability of a click, given the log-odds of taste, fashion and popularity together."""
    return MOST_CLICKS * sigmoid(log_odds + CLICK_LEVEL)


def sigmoid(log_odds: Floats) -> Floats:
    """Return the probabilities of log-odds."""
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def _popularity(demand: Demand) -> Floats:
    appeal = np.log(demand.appeal)
    return np.asarray(appeal - appeal.mean())


def _log_odds(settings: EnvironmentSettings, catalogue: Catalogue, fashion: Fashion) -> Floats:
    """Log-odds of the items' themes, compared with all themes alike, and of their styles (users, n)."""
    tastes = Tastes(settings.users, fashion, generator(settings.seed, Purpose.PUBLIC))
    themes = np.stack([tastes.missions(user) for user in range(settings.users)]) * len(THEMES)
    styles = np.stack([tastes.styles(user) for user in range(settings.users)])
    return np.asarray(np.log(themes)[:, catalogue.theme] + np.log(styles)[:, catalogue.style])
