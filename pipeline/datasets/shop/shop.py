"""The simulated shop's stream: visits that overlap in time, new items that arrive in between."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import itertools
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from pipeline.datasets.shop.catalogue import LARGEST_CATALOGUE, Floats, make_catalogue
from pipeline.datasets.shop.tastes import Tastes
from pipeline.datasets.shop.visit import Visit
from pipeline.errors import DatasetError
from pipeline.events import Interaction, InteractionType, Item

OPENING_MS = 1_767_225_600_000
"""2026-01-01 00:00 UTC, when the first visit begins."""
MEAN_ACTS = 6
"""Acts in a visit, geometrically distributed."""
MOST_ACTS = 40
"""Far more than a visit ever needs; keeps it smaller than the smallest shop."""
MEAN_MS_BETWEEN_VISITS = 240_000
MEAN_MS_BETWEEN_ACTS = 40_000
LOYALTY = 4.0
"""How much more an item is sought by someone who has bought it before."""
REMEMBERED = 100
"""A user's last purchases that are still bought again."""
LAUNCH_BOOST = 6.0
"""How much more an item is sought on the day it arrives; fades by e in LAUNCH_INTERACTIONS."""
LAUNCH_INTERACTIONS = 1_500


@dataclass(frozen=True)
class ShopSettings:
    """What may be chosen about the shop.

    Attributes:
        seed: of everything; the same settings are the same stream in every process.
        events: interactions until the stream ends; None never ends it.
        users: who come to the shop.
        items: in the catalogue, in the end.
        arrivals: how many of the items are not there at the opening.
        arrival_every: interactions from one arrival to the next.

    Raises:
        DatasetError: a setting is out of its bounds.
    """

    seed: int = 0
    events: int | None = 20_000
    users: int = 600
    items: int = 1_500
    arrivals: int = 300
    arrival_every: int = 60

    def __post_init__(self) -> None:
        bounds = {
            "seed": (0, 2**63 - 1),
            "users": (1, 100_000),
            "items": (2 * MOST_ACTS, LARGEST_CATALOGUE),
            "arrivals": (0, self.items - 2 * MOST_ACTS),
            "arrival_every": (1, 2**63 - 1),
        }
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) <= most:
                raise DatasetError(f"shop: {name} must be from {least} to {most}")
        if self.events is not None and self.events < 0:
            raise DatasetError("shop: events must not be negative")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read settings as in ``seed=7,events=20000``; what is not named keeps its default.

        Raises:
            DatasetError: a name is unknown or a value is not a whole number.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        settings: dict[str, int] = {}
        for setting in filter(None, text.split(",")):
            name, _, value = setting.partition("=")
            if name not in known or not value.isdecimal():
                raise DatasetError(
                    f"shop: found {setting!r}; supported is NAME=NUMBER with {', '.join(known)}"
                )
            settings[name] = int(value)
        return cls(**settings)


class Choice(NamedTuple):
    """An interaction and the probabilities that it was drawn from.

    `probabilities` belong to the first n items in order of arrival. They know the user's tastes
    and the basket so far, but not the mission: no forecast does better.
    """

    interaction: Interaction
    probabilities: Floats


class Shop:
    """The simulated shop, a Dataset. Each call of `events` or `choices` opens it anew."""

    name = "shop"

    def __init__(self, settings: ShopSettings | None = None) -> None:
        self.settings = settings or ShopSettings()

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the settings, which determine the stream."""
        settings = json.dumps(dataclasses.asdict(self.settings), sort_keys=True)
        return hashlib.sha256(f"{self.name} 1 {settings}".encode()).hexdigest()

    def events(self) -> Iterator[Item | Interaction]:
        """The opening catalogue, then interactions by time, with new items as they arrive."""
        for told in self.choices():
            yield told if isinstance(told, Item) else told.interaction

    def choices(self) -> Iterator[Item | Choice]:
        """The same stream, with each interaction's true probabilities: what an oracle is scored on."""
        floor = _Floor(self.settings, self.digest[:16])
        yield from floor.open()
        for _ in itertools.count() if self.settings.events is None else range(self.settings.events):
            choice = floor.serve()
            yield choice
            yield from floor.stock(choice.interaction.time)


class _Open(NamedTuple):
    """A visit under way, ordered by when its next act is due."""

    due: int
    number: int
    user: int
    acts_left: int
    visit: Visit


class _Floor:
    """The shop while it is open: who is in it, what is on its shelves, what was bought before."""

    def __init__(self, settings: ShopSettings, prefix: str) -> None:
        self._settings = settings
        self._prefix = prefix
        self._rng = _generator(settings.seed, 0)
        self._catalogue = make_catalogue(settings.items, _generator(settings.seed, 1))
        self._tastes = Tastes(settings.users, _generator(settings.seed, 2))
        self._visitors = np.cumsum(self._tastes.activity)
        self._bought = [deque[int](maxlen=REMEMBERED) for _ in range(settings.users)]
        self._listed = settings.items - settings.arrivals
        self._launched = np.full(settings.items, -np.inf)
        self._served = 0
        self._visits = itertools.count()
        self._next_visit = OPENING_MS
        self._open: list[_Open] = []

    def open(self) -> Iterator[Item]:
        """The items that are there from the beginning."""
        for item in self._catalogue.items[: self._listed]:
            yield item.model_copy(update={"time": OPENING_MS})

    def stock(self, time: int) -> Iterator[Item]:
        """The item that arrives now, if one does. What changes on schedule belongs here."""
        if self._served % self._settings.arrival_every == 0 and self._listed < self._settings.items:
            self._launched[self._listed] = self._served
            self._listed += 1
            yield self._catalogue.items[self._listed - 1].model_copy(update={"time": time})

    def serve(self) -> Choice:
        """The next act of whoever is due first."""
        while not self._open or self._next_visit <= self._open[0].due:
            self._let_in()
        due, number, user, acts_left, visit = self._open[0]
        probabilities = visit.probabilities()
        item, act = visit.act(probabilities, self._rng)
        interaction = self._interaction(number, user, item, act, due)
        self._served += 1
        if act is InteractionType.PURCHASE:
            self._bought[user].append(item)
        if acts_left > 1:
            later = due + 1 + int(self._rng.exponential(MEAN_MS_BETWEEN_ACTS))
            heapq.heapreplace(self._open, _Open(later, number, user, acts_left - 1, visit))
        else:
            heapq.heappop(self._open)
        return Choice(interaction, probabilities)

    def _let_in(self) -> None:
        """Begin the visit that is due, unless that user is still in the shop."""
        begin = self._next_visit
        self._next_visit += 1 + int(self._rng.exponential(MEAN_MS_BETWEEN_VISITS))
        user = int(self._visitors.searchsorted(self._rng.random() * self._visitors[-1], side="right"))
        if any(user == visit.user for visit in self._open):
            return
        self._tastes.wander(user)
        visit = Visit(self._catalogue, self._attraction(user), self._tastes.missions(user))
        acts = min(int(self._rng.geometric(1 / MEAN_ACTS)), MOST_ACTS)
        heapq.heappush(self._open, _Open(begin, next(self._visits), user, acts, visit))

    def _attraction(self, user: int) -> Floats:
        """How much each listed item draws the user: its appeal, its novelty, its style, loyalty."""
        listed = slice(self._listed)
        age = (self._served - self._launched[listed]) / LAUNCH_INTERACTIONS
        novelty = 1 + (LAUNCH_BOOST - 1) * np.exp(-age)
        style = self._tastes.styles(user)[self._catalogue.style[listed]]
        attraction = self._catalogue.appeal[listed] * novelty * style
        attraction[list(self._bought[user])] *= LOYALTY
        return np.asarray(attraction)

    def _interaction(self, visit: int, user: int, item: int, act: InteractionType, time: int) -> Interaction:
        return Interaction(
            event_id=f"{self._prefix}-{self._served}",
            user=f"u{user}",
            item=self._catalogue.items[item].item,
            type=act,
            time=time,
            session=f"v{visit}",
        )


def _generator(seed: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, purpose], dtype=np.uint64)))
