"""What a request asks for, beside the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pipeline.config import ServeConfig
from pipeline.events import InteractionType, Scalar

MS_PER_MINUTE = 60_000
MS_PER_HOUR = 60 * MS_PER_MINUTE
MS_PER_DAY = 24 * MS_PER_HOUR
NO_TYPES: frozenset[InteractionType] = frozenset()
ALL_TYPES = frozenset(InteractionType)
QueryKind = Literal["user", "history", "similar"]


@dataclass(frozen=True)
class RecommendationQuery:
    """Select at most `k` items: not excluded, of the category if there is one, and among `only` if given.

    Attributes:
        exclude_seen: leave out items with an act of the user of these types.
        hide_disliked_ms: for how long a dislike removes its item; 0 if it only lowers it.
        exclude_shown_ms: leave out what the user was shown in the last so many ms.
        owner_attribute: leave out items whose attribute of this name is the user, or a list with the user.
        diversity: from 0, by score alone, to 1; see `consumers.serve.diversity`.
        most_per_category: items of one category, at most; None for no limit.
        explain: say what each score is made of.
        record: write the answer as an impression, and let the policy explore.
        context: what the request says of itself to business rules, by name.
        shown: items that will be shown, from the top, of which the impression is; None for all.
    """

    k: int
    exclude: frozenset[str] = frozenset()
    category: str | None = None
    exclude_seen: frozenset[InteractionType] = NO_TYPES
    hide_disliked_ms: int = 0
    exclude_shown_ms: int = 0
    owner_attribute: str | None = None
    diversity: float = 0.0
    most_per_category: int | None = None
    explain: bool = False
    record: bool = True
    context: tuple[tuple[str, str], ...] = ()
    only: frozenset[str] | None = None
    shown: int | None = None

    @classmethod
    def by_default(cls, settings: ServeConfig) -> Self:
        """Return the query of a request without parameters."""
        return cls(
            settings.recommendations,
            exclude_seen=frozenset(settings.exclude_seen),
            hide_disliked_ms=int(settings.hide_disliked_days * MS_PER_DAY),
            exclude_shown_ms=int(settings.exclude_shown_minutes * MS_PER_MINUTE),
            owner_attribute=settings.owner_attribute,
            diversity=settings.diversity,
            most_per_category=settings.most_per_category,
        )


def facts_of(query: RecommendationQuery, kind: QueryKind) -> dict[str, Scalar]:
    """Return what a request carries, for the conditions of business rules."""
    own: dict[str, Scalar] = {"query": kind, "k": query.k}
    return {**dict(query.context), **own, **({"category": query.category} if query.category else {})}
