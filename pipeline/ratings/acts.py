"""The ratings among acts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.events import Interaction, InteractionType
from pipeline.state.histories import Act, History

AT_ONCE = 64
"""New ratings of a user that are learned together: time grows with their cube, and there may be many."""


class UserRatings(NamedTuple):
    """Ratings of one user, oldest first; the last ones are new.

    Attributes:
        rows: ``[n]`` catalogue rows of the items.
        values: ``[n]`` ratings.
        first_new: number of those that are not new.
        known: number of the user's ratings that were known before the new ones.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float64]
    first_new: int
    known: int


def ratings_in(acts: Iterable[Act]) -> list[tuple[str, float]]:
    """Return item and value of each rating among acts."""
    rating = InteractionType.RATING
    return [(act.item, act.value) for act in acts if act.type is rating and act.value is not None]


def new_ratings(
    events: Sequence[Interaction], history_of: Callable[[str], History], row: Callable[[str], int], most: int
) -> Iterator[UserRatings]:
    """Yield the ratings of each user of a batch in its order, each after at most `most` earlier ones."""
    by_user: dict[str, list[tuple[str, float]]] = {}
    for event in events:
        if event.type is InteractionType.RATING and event.value is not None:
            by_user.setdefault(event.user, []).append((event.item, event.value))
    for user, new_ones in by_user.items():
        known = ratings_in(history_of(user))
        found = [*known, *new_ones]
        rows, values = np.array([row(item) for item, _ in found]), np.array([value for _, value in found])
        for new in range(len(known), len(found), AT_ONCE):
            start, end = max(0, new - most), new + AT_ONCE
            yield UserRatings(rows[start:end], values[start:end], new - start, new)
