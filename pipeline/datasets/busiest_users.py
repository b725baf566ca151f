"""Users with a share of the acts that no single person has: often an id for everybody who is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.events import Interaction
from pipeline.wording import counted

MOST_COUNTED = 10_000
"""Users whose acts are counted at a time, so that memory is bounded."""
LEAST_SHARE = 0.05
"""With less, a user hardly matters for others. The busiest customer of Online Retail has .02."""
ORDINARY = 10
"""The place among the busiest where a user is taken for a person: ids for nobody are fewer."""
LEAST_RATIO = 10
"""To the acts of that one: 1.4 to 5.6 in prefixes of Online Retail and the shop, up to 9.4 in MovieLens."""


class BusiestUsers:
    """Counts the acts of the busiest users.

    Of more users than are counted at a time, one act of each is forgotten (Misra and Gries 1982), so that
    counts are too low by as many as were forgotten of one user, at most.
    """

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._n = self._forgotten = 0

    def add(self, acts: Iterable[Interaction]) -> None:
        """Add acts."""
        for act in acts:
            self._n += 1
            self._counts[act.user] += 1
            if len(self._counts) > MOST_COUNTED:
                self._forgotten += 1
                self._counts = Counter({user: n - 1 for user, n in self._counts.items() if n > 1})

    def users(self) -> list[str]:
        """Return the ids that have far more acts than others, the busiest first."""
        busiest = self._counts.most_common(ORDINARY)
        if len(busiest) < ORDINARY and not self._forgotten:
            return []  # of few users, each may have a large share
        ordinary = self._forgotten + (busiest[-1][1] if len(busiest) == ORDINARY else 0)
        least = max(LEAST_SHARE * self._n, LEAST_RATIO * ordinary)
        return [user for user, n in busiest if n > least]

    def warning(self, shows_ids: bool = False) -> str | None:
        """Say that some ids have too many acts for a person, and what to do; None if none has.

        They may be those of persons, and are named only where ids are shown anyway.
        """
        users = self.users()
        if not users:
            return None
        acts = sum(self._counts[user] for user in users)
        named = f" ({', '.join(map(repr, users))})" if shows_ids else ""
        who = f"{counted(len(users), 'user')}{named}"
        return (
            f"{who} did {acts:,} of {self._n:,} acts, over {LEAST_RATIO} times as many as others: an id "
            "for everybody who is not known, such as 0, -1 or guest, makes one person of them. Leave out its "
            "rows by a rule in [[drop]] of the mapping, or map a column that tells these people apart"
        )
