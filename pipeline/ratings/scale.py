"""Ratings beyond the scale of the settings: they count as its nearest end, which must be said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pipeline.config import RatingsConfig, SignalsConfig
from pipeline.events import Interaction, InteractionType
from pipeline.state.histories import Act
from pipeline.state.signals import Signals


class RatingScale:
    """The scale of the settings, and how the ratings of interactions fit it.

    Attributes:
        n: ratings with a value.
        beyond: those of them that are beyond the scale.
        least, most: of all of them.
    """

    def __init__(self, config: RatingsConfig) -> None:
        self._config = config
        self.n = self.beyond = 0
        self.least, self.most = math.inf, -math.inf

    def add(self, events: Iterable[Interaction]) -> int:
        """Add the ratings among interactions; return how many of them are beyond the scale."""
        values = [e.value for e in events if e.type is InteractionType.RATING and e.value is not None]
        beyond = sum(not self._config.lowest <= value <= self._config.highest for value in values)
        self.n, self.beyond = self.n + len(values), self.beyond + beyond
        self.least, self.most = min([self.least, *values]), max([self.most, *values])
        return beyond

    def warning(self, least: int = 1) -> str | None:
        """Say how ratings do not fit, and which settings would; None if all do.

        Fewer than `least` ratings do not show where the scale ends.
        """
        if not self.beyond:
            return None
        low, high = self._config.lowest, self._config.highest
        return (
            f"{self.beyond:,} of {self.n:,} ratings are beyond the scale of {low:g} to {high:g} and count as "
            f"its nearest end: they reach from {self.least:g} to {self.most:g}. Set {self._settings(least)}"
        )

    def _settings(self, least: int) -> str:
        """The settings of a scale that reaches from the least to the most; good begins in the same place."""
        if self.least == self.most or self.n < least:
            return "learn.ratings.lowest and learn.ratings.highest to the scale of the data"
        threshold, span = self._good()
        return (
            f"learn.ratings.lowest = {self.least:g}, learn.ratings.highest = {self.most:g}, "
            f"signals.rating_threshold = {threshold:.3g}, signals.rating_span = "
            f"{span:.3g}, rewards.rating_threshold = {threshold:.3g}"
        )

    def _good(self) -> tuple[float, float]:
        """Return above what a rating is good, and by how much one with its full weight: signs say it."""
        if self.least < 0 < self.most:
            return 0.0, self.most
        usual, signals = RatingsConfig(), SignalsConfig()
        stretch = (self.most - self.least) / (usual.highest - usual.lowest)
        return self.least + stretch * (signals.rating_threshold - usual.lowest), stretch * signals.rating_span


class PositiveActs:
    """Acts that say something good of their items: without one, nothing is learned.

    Attributes:
        n: acts.
        positive, negative: those of them that say something good, or bad.
    """

    def __init__(self, config: SignalsConfig) -> None:
        self._signals = Signals(config, history_length=1)
        self.n = self.positive = self.negative = 0
        self._ratings = RatingScale(RatingsConfig())
        self._types: set[InteractionType] = set()

    def add(self, events: Sequence[Interaction]) -> None:
        """Add interactions."""
        signs = [self._signals.sign(Act.of(event)) for event in events]
        self.n += len(events)
        self.positive += signs.count(1)
        self.negative += signs.count(-1)
        self._types.update(event.type for event in events)
        self._ratings.add(events)

    def warning(self, least: int = 1) -> str | None:
        """Say that nothing is learned, and which settings would change that; None if there are few acts."""
        if self.positive or self.n < least:
            return None
        return (
            f"none of {self.n:,} acts says anything good of its item, so nothing is learned. {self._remedy()}"
        )

    def _remedy(self) -> str:
        config, low, high = self._signals.config, self._ratings.least, self._ratings.most
        if not self._ratings.n or not config.rating:
            types = ", ".join(sorted(self._types))
            return f"Raise the weight in [signals] of what people do here: {types}"
        ratings = f"The ratings reach from {low:g} to {high:g}, and signals.rating_threshold is"
        if low == high:
            return f"{ratings} {config.rating_threshold:g}: set it lower"
        middle, span = (0.0, high) if low < 0 < high else ((low + high) / 2, (high - low) / 2)
        return (
            f"{ratings} {config.rating_threshold:g}: set it between them, such as signals.rating_threshold = "
            f"{middle:.3g} with signals.rating_span = {span:.3g}, and rewards.rating_threshold = {middle:.3g}"
        )
