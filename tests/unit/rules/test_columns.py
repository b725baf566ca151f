"""Columns say which value is the first of an item."""

from __future__ import annotations

import numpy as np

from pipeline.events import Item
from pipeline.rules.columns import NO_CODE, Column
from pipeline.rules.conditions import key_of


def test_the_first_code_of_a_row_is_that_of_its_first_value() -> None:
    values = [("b", "a"), (), ("a",), ("c", "b", "a")]
    entries = [Item(item=f"i{n}", title="t", attributes={"tags": tags}) for n, tags in enumerate(values)]
    column = Column.of([*entries, None], "tags", {})
    rows = np.array([3, 0, 1, 4, 2, 0])
    a, b, c = (column.numbering[key_of(value)] for value in "abc")
    assert column.first_codes(rows).tolist() == [c, b, NO_CODE, NO_CODE, a, b]
    later = column.updated(5, np.array([0]), Column.of([entries[2]], "tags", column.numbering))
    assert later.first_codes(np.array([0, 3])).tolist() == [a, c]
    assert Column.of([], "tags", {}).first_codes(np.array([], dtype=np.int64)).size == 0
