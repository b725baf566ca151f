"""Rules and items for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.events import Item
from pipeline.rules.columns import Columns, Items
from pipeline.rules.conditions import Condition
from pipeline.rules.rule import Rule, build_rule

BRAND = {"attributes": [{"name": "brand", "equals": "Falcon"}]}

scalars = st.sampled_from(["red", "blue", "1", True, False, 0, 1, 2, 1.0, 1.5])
values = scalars | st.lists(scalars, max_size=3).map(tuple)


def conditions(*names: str) -> st.SearchStrategy[Condition]:
    """Conditions on values with one of the names."""
    numbers = st.sampled_from([0.0, 1.0, 1.5])
    tests = st.fixed_dictionaries(
        {"name": st.sampled_from(names)},
        optional={
            "equals": scalars,
            "any_of": st.lists(scalars, min_size=1, max_size=3),
            "none_of": st.lists(scalars, min_size=1, max_size=3),
            "at_least": numbers,
            "at_most": numbers,
            "present": st.booleans(),
        },
    )
    return tests.filter(_can_hold).map(Condition.model_validate)


def _can_hold(test: dict[str, Any]) -> bool:
    try:
        Condition.model_validate(test)
    except ValidationError:
        return False
    return True


def rule(name: str, action: str, **fields: Any) -> Rule:
    """Build a rule."""
    return build_rule({"name": name, "action": action, **fields})


class BareItems:
    """Items without an index."""

    def __init__(self, entries: Sequence[Item | None]) -> None:
        self.entries = entries

    @property
    def columns(self) -> Columns:
        return Columns(self)

    def stale_since(self, before: Items) -> None:
        """Return None, for nothing is known of others."""

    def rows_of(self, items: Iterable[str]) -> NDArray[np.int64]:
        rows = {entry.item: row for row, entry in enumerate(self.entries) if entry is not None}
        return np.array([rows[item] for item in items if item in rows], dtype=np.int64)
