"""Features of an answer, see `pipeline.value.features`: what is known of the user and what may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.serve.query import MS_PER_MINUTE
from consumers.serve.scoring import Basis, popular
from consumers.serve.state.item_rows import ItemRows
from consumers.serve.state.loaded_snapshot import LoadedSnapshot
from consumers.serve.state.serving_state import View
from consumers.serve.state.shown import NOTHING_SHOWN, ShownLately
from pipeline.model.mixer import FEATURES, SCORERS
from pipeline.policy.draws import Valued, ValuesOf, normals
from pipeline.rules.columns import NO_CODE
from pipeline.rules.compiled import Shaping
from pipeline.state.acted_items import NO_ITEMS
from pipeline.state.histories import Act
from pipeline.value.features import EXPOSURE, ITEM, project_items, project_user, rounded
from pipeline.value.features import SCORERS as READ
from pipeline.value.port import Vectors

LATELY_MS = 30 * MS_PER_MINUTE
"""The session: acts, and what was shown, up to so long ago."""
FADING_MS = 10 * MS_PER_MINUTE
"""Time in which what was shown fades to 1 / e."""
READ_FEATURES = [FEATURES.index(name) for name in READ]
"""Those of the mixture that learners of values read."""
POPULARITY = READ.index("popularity")


class _Known:
    """Features that were computed already, by row."""

    def __init__(self) -> None:
        self._rows, self._features = NO_ITEMS, np.zeros((0, ITEM), dtype=np.float32)

    def lacks(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some rows that have none yet."""
        at = np.searchsorted(self._rows, rows)
        lacking: NDArray[np.int64] = rows[np.append(self._rows, -1)[at] != rows]
        return lacking

    def add(self, rows: NDArray[np.int64], features: Vectors) -> None:
        """Keep the features ``[m, ITEM]`` of rows ``[m]``."""
        every = np.concatenate([self._rows, rows])
        order = np.argsort(every)
        self._rows, self._features = every[order], np.concatenate([self._features, features])[order]

    def at(self, rows: NDArray[np.int64]) -> Vectors:
        """Return the features ``[m, ITEM]`` of rows ``[m]``."""
        return self._features[np.searchsorted(self._rows, rows)]


@dataclass(frozen=True)
class AnswerFeatures:
    """Features of what one answer may show; each is computed once, when it is asked for.

    Attributes:
        view, snapshot, vectors: what the server knows.
        known: the user's acts on items of the index.
        basis: what the items were scored from; None if they are merely popular.
        now: ms since the epoch.
        shown: what the user was shown lately.
    """

    view: View
    snapshot: LoadedSnapshot
    vectors: ItemRows
    known: Sequence[Act]
    basis: Basis | None
    now: int
    shown: ShownLately = NOTHING_SHOWN
    _known: _Known = field(default_factory=_Known)

    @cached_property
    def state(self) -> Vectors:
        """``[STATE]`` features of the user and the session."""
        pause = max(0, self.now - self.known[-1].time) / MS_PER_MINUTE if self.known else 0.0
        numbers = np.array([len(self.known), len(self._session), pause, self.shown.digests.size])
        facts = np.append(np.log1p(numbers), self.basis is None)
        return rounded(np.concatenate([project_user(self._user), facts.astype(np.float32)]))

    def items(self, rows: NDArray[np.int64]) -> Vectors:
        """``[m, ITEM]`` features of rows ``[m]``."""
        missing = self._known.lacks(rows)
        if missing.size:
            self._known.add(missing, self._items(missing))
        return self._known.at(rows)

    @torch.inference_mode()
    def _items(self, rows: NDArray[np.int64]) -> Vectors:
        vectors = self.snapshot.recommender.item_vectors(self.vectors.at(rows)).numpy()
        columns = project_items(self._user, vectors), self._scorers(rows), self._exposure(rows)
        return rounded(np.concatenate(columns, axis=1))

    @cached_property
    def _user(self) -> Vectors:
        """The user's vector ``[d]``; zeros if the model does not know the user."""
        if self.basis is None:
            return np.zeros(self.vectors.sparse.residual.shape[1], dtype=np.float32)
        user: Vectors = self.basis.user.numpy()
        return user

    @cached_property
    def _session(self) -> list[Act]:
        return [act for act in self.known if act.time >= self.now - LATELY_MS]

    def _scorers(self, rows: NDArray[np.int64]) -> Vectors:
        """``[m, scorers]`` of the mixture; log-probabilities above chance."""
        if self.basis is None:
            said = np.zeros((rows.size, len(READ)), dtype=np.float32)
            said[:, POPULARITY] = popular(self.view, rows) + np.log(len(self.view.index))
            return said
        said = self.basis.features(rows)[:, READ_FEATURES]
        said[:, : len(SCORERS)] += np.float32(np.log(len(self.view.index)))
        return said

    def _exposure(self, rows: NDArray[np.int64]) -> Vectors:
        """``[m, 3]``: how lately each was shown, how many of its category were, and acts on its category."""
        if not self.shown.digests.size and not self._session:
            return np.zeros((rows.size, len(EXPOSURE)), dtype=np.float32)
        index, shown = self.view.index, self.shown
        ids = index.digests[rows]
        at = np.searchsorted(shown.digests, ids)
        fading = np.append(np.exp((shown.times - self.now) / FADING_MS), 0.0)
        was_shown = np.where(np.append(shown.digests, -1)[at] == ids, fading[at], 0.0)
        others = index.rows_with(shown.digests), index.rows_of([act.item for act in self._session])
        codes = index.columns.of(None).first_codes(np.concatenate([rows, *others]))  # in one search for all
        own, before, acted = np.split(codes, [rows.size, rows.size + others[0].size])
        counts = [_times_among(other, own) for other in (before, acted)]
        return np.stack([was_shown, *np.log1p(counts)], axis=1).astype(np.float32)


def _times_among(codes: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each code of `own` ``[m]`` is among codes ``[n]``; 0 for `NO_CODE`, which is -1."""
    counts = np.bincount(codes[codes != NO_CODE], minlength=int(own.max(initial=NO_CODE)) + 1)
    return np.append(counts, 0)[own]


def values_of(features: AnswerFeatures, impression: str, shaping: Shaping) -> ValuesOf:
    """Return what gives items their values in an answer whose impression has an id.

    A rule's nats stretch a value, or shrink it if it is below zero, as they do with a probability.
    """

    def values(name: str, rows: NDArray[np.int64]) -> Valued | None:
        model = features.snapshot.values.get(name)
        if model is None:
            return None
        draws, width = model.normals
        random = normals(impression, draws * width).reshape(draws, width)
        found = model.values(features.state, features.items(rows), random)
        if shaping.shifts:
            found = found * np.exp(np.sign(found) * shaping.shift(rows))
        return Valued(found, model.epsilon)

    return values
