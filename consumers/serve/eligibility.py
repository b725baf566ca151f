"""Eligibility: which of some rows may be shown, and which rows alone may be if a filter selects few."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consumers.serve.query import RecommendationQuery
from consumers.serve.state.item_index import ItemIndex
from consumers.serve.user_query import UserQuery
from pipeline.events import InteractionType
from pipeline.rules.columns import Mask
from pipeline.rules.compiled import NO_SHAPING, Shaping
from pipeline.rules.conditions import key_of
from pipeline.state.acted_items import NO_ITEMS, digests_of
from pipeline.state.growing import distinct
from pipeline.state.histories import disliked

MOST_SELECTED = 4_000
"""Rows that are ranked as they are, each of them, where a filter selects no more."""


@dataclass(frozen=True)
class Eligibility:
    """What one answer may show.

    Attributes:
        index: the items.
        query: what is asked for.
        now: ms since the epoch, at which the items must be on sale.
        shaping: what business rules do to it.
        excluded: rows that are left out.
        digests: of items that are left out, too.
    """

    index: ItemIndex
    query: RecommendationQuery
    now: int
    shaping: Shaping = NO_SHAPING
    excluded: NDArray[np.int64] = field(default_factory=lambda: NO_ITEMS)
    digests: NDArray[np.int64] = field(default_factory=lambda: NO_ITEMS)

    def among(self, rows: NDArray[np.int64]) -> Mask:
        """``[m]`` mask of the rows ``[m]`` that may be shown."""
        index, query = self.index, self.query
        eligible = index.available_at(self.now, rows) & self.shaping.allowed(rows)
        if self.excluded.size:
            eligible &= ~np.isin(rows, self.excluded)
        if self.digests.size:
            eligible &= ~np.isin(index.digests[rows], self.digests)
        if query.category is not None:
            eligible &= np.isin(rows, self._of_category(query.category))
        if query.only is not None:
            eligible &= np.isin(rows, index.rows_of(query.only))
        return eligible

    def leaves_out(self, items: Collection[str]) -> bool:
        """Whether each of some items is left out."""
        return self.excluded.size > 0 and bool(np.isin(self.index.rows_of(items), self.excluded).all())

    def selected(self) -> NDArray[np.int64] | None:
        """Return the rows, ascending, outside of which nothing may be shown; None if they are many."""
        if self.query.only is not None:
            return distinct(self.index.rows_of(self.query.only))
        category = None if self.query.category is None else self._of_category(self.query.category)
        if category is not None and category.size <= MOST_SELECTED:
            return category
        return self.shaping.passing(MOST_SELECTED)

    def _of_category(self, category: str) -> NDArray[np.int64]:
        return self.index.columns.of(None).rows_with(key_of(category))


def eligibility_of(index: ItemIndex, asked: UserQuery, now: int) -> Eligibility:
    """Return what may be shown to a user at a time in ms.

    The time of a dislike that left the history is not known: it lasts as long as dislikes hide anything.
    """
    query = asked.query
    items = {act.item for act in asked.history if act.type in query.exclude_seen}
    types = set(query.exclude_seen)
    if query.hide_disliked_ms:
        items |= disliked(asked.history, now - query.hide_disliked_ms)
        types.add(InteractionType.DISLIKE)
    excluded = index.rows_of(items | query.exclude)
    if query.owner_attribute is not None and asked.user is not None:
        own = index.columns.of(query.owner_attribute).rows_with(key_of(asked.user))
        excluded = np.concatenate([excluded, own])
    seen = digests_of(asked.older, types) if asked.older.size and types else NO_ITEMS
    return Eligibility(index, query, now, asked.shaping, excluded, np.concatenate([seen, asked.shown]))
