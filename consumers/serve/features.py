"""Features of an answer, see `pipeline.value.features`: what is known of the user and what may be shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from consumers.serve.query import MS_PER_MINUTE
from consumers.serve.scoring import Basis, popular
from consumers.serve.state.serving_state import ModelView
from consumers.serve.state.shown import NOTHING_SHOWN, ShownLately
from pipeline.model.mixer import FEATURES, SCORERS
from pipeline.policy.draws import Valued, ValuesOf, normals
from pipeline.rules.columns import NO_CODE
from pipeline.rules.compiled import Shaping
from pipeline.state.acted_items import NO_ITEMS
from pipeline.state.histories import Act
from pipeline.state.sorted_keys import look_up
from pipeline.value.features import (
    EXPOSURE,
    ITEM,
    JOINT,
    OWN,
    STATE,
    directions,
    project_items,
    project_user,
    rounded,
)
from pipeline.value.features import SCORERS as READ
from pipeline.value.port import Vectors

LATELY_MS = 30 * MS_PER_MINUTE
"""The session: acts, and what was shown, up to so long ago."""
FADING_MS = 10 * MS_PER_MINUTE
"""Time in which what was shown fades to 1 / e."""
READ_FEATURES = [FEATURES.index(name) for name in READ]
"""Those of the mixture that learners of values read."""
POPULARITY = READ.index("popularity")
FIRST_SCORER = JOINT + OWN
FIRST_EXPOSURE = FIRST_SCORER + len(READ)


class _Known:
    """Features that were computed already, by row."""

    def __init__(self) -> None:
        self._rows, self._features = NO_ITEMS, np.zeros((0, ITEM), dtype=np.float32)

    def at(self, rows: NDArray[np.int64], compute: Callable[[NDArray[np.int64]], Vectors]) -> Vectors:
        """Return the features ``[m, ITEM]`` of rows ``[m]``; compute those that are not known yet."""
        at, is_known = look_up(self._rows, rows)
        if not is_known.all():
            self._add(rows[~is_known], compute)
            at = np.searchsorted(self._rows, rows)
        return self._features[at]

    def _add(self, rows: NDArray[np.int64], compute: Callable[[NDArray[np.int64]], Vectors]) -> None:
        every = np.concatenate((self._rows, rows))
        order = np.argsort(every)
        self._rows, self._features = every[order], np.concatenate((self._features, compute(rows)))[order]


@dataclass(frozen=True)
class AnswerFeatures:
    """Features of what one answer may show; each is computed once, when it is asked for.

    Attributes:
        model: what the server knows.
        known: the user's acts on items of the index.
        basis: what the items were scored from; None if they are merely popular.
        now: ms since the epoch.
        shown: what the user was shown lately.
    """

    model: ModelView
    known: Sequence[Act]
    basis: Basis | None
    now: int
    shown: ShownLately = NOTHING_SHOWN
    _known: _Known = field(default_factory=_Known)

    @cached_property
    def state(self) -> Vectors:
        """``[STATE]`` features of the user and the session."""
        pause = max(0, self.now - self.known[-1].time) / MS_PER_MINUTE if self.known else 0.0
        state = np.empty(STATE, dtype=np.float32)
        state[:OWN] = project_user(self._user)
        facts = len(self.known), len(self._session), pause, self.shown.digests.size
        state[OWN:-1] = [math.log1p(fact) for fact in facts]
        state[-1] = self.basis is None
        return rounded(state)

    def items(self, rows: NDArray[np.int64]) -> Vectors:
        """``[m, ITEM]`` features of rows ``[m]``."""
        return self._known.at(rows, self._items)

    def _items(self, rows: NDArray[np.int64]) -> Vectors:
        features = np.empty((rows.size, ITEM), dtype=np.float32)
        features[:, :FIRST_SCORER] = project_items(
            self._user, self.model.snapshot.directions.at(self.model.items, rows)
        )
        features[:, FIRST_SCORER:FIRST_EXPOSURE] = self._scorers(rows)
        features[:, FIRST_EXPOSURE:] = self._exposure(rows)
        return rounded(features)

    @cached_property
    def _user(self) -> Vectors:
        """The direction ``[d]`` of the user's vector; zeros if the model does not know the user."""
        if self.basis is None:
            return np.zeros(self.model.items.sparse.residual.shape[1], dtype=np.float32)
        return directions(self.basis.user.numpy())

    @cached_property
    def _session(self) -> list[Act]:
        return [act for act in self.known if act.time >= self.now - LATELY_MS]

    def _scorers(self, rows: NDArray[np.int64]) -> Vectors:
        """``[m, scorers]`` of the mixture; log-probabilities above chance."""
        size = len(self.model.view.index)
        if self.basis is None:
            said = np.zeros((rows.size, len(READ)), dtype=np.float32)
            said[:, POPULARITY] = popular(self.model.view, rows) + np.log(size)
            return said
        said = self.basis.features(rows)[:, READ_FEATURES]
        said[:, : len(SCORERS)] += math.log(size)
        return said

    def _exposure(self, rows: NDArray[np.int64]) -> Vectors:
        """``[m, 3]``: how lately each was shown, how many of its category were, and acts on its category."""
        exposure = np.zeros((rows.size, len(EXPOSURE)), dtype=np.float32)
        index, shown = self.model.view.index, self.shown
        if not shown.digests.size and not self._session:
            return exposure
        at, was_shown = look_up(shown.digests, index.digests[rows])
        exposure[was_shown, 0] = np.exp((shown.times[at[was_shown]] - self.now) / FADING_MS)
        others = index.rows_with(shown.digests), index.rows_of([act.item for act in self._session])
        codes = index.columns.of(None).first_codes(np.concatenate((rows, *others)))  # in one search for all
        ends = rows.size, rows.size + others[0].size
        own, before, acted = codes[: ends[0]], codes[ends[0] : ends[1]], codes[ends[1] :]
        exposure[:, 1] = np.log1p(_times_among(before, own))
        exposure[:, 2] = np.log1p(_times_among(acted, own))
        return exposure


def _times_among(codes: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each code of `own` ``[m]`` is among codes ``[n]``; 0 for `NO_CODE`, which is -1."""
    counts = np.bincount(codes + 1, minlength=int(own.max(initial=NO_CODE)) + 2)
    counts[NO_CODE + 1] = 0
    return counts[own + 1]


def values_of(features: AnswerFeatures, impression: str, shaping: Shaping) -> ValuesOf:
    """Return what gives items their values in an answer whose impression has an id.

    A rule's nats stretch a value, or shrink it if it is below zero, as they do with a probability.
    """

    def values(name: str, rows: NDArray[np.int64]) -> Valued | None:
        model = features.model.snapshot.values.get(name)
        if model is None:
            return None
        draws, width = model.normals
        random = normals(impression, draws * width).reshape(draws, width)
        found = model.values(features.state, features.items(rows), random)
        if shaping.shifts:
            found = found * np.exp(np.sign(found) * shaping.shift(rows))
        return Valued(found, model.epsilon)

    return values
