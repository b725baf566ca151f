"""A condition means the same for one value and for a column of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.events import Attribute, Item
from pipeline.rules.columns import Columns
from pipeline.rules.compiled import CompiledRules, RequestFacts
from pipeline.rules.conditions import Condition
from pipeline.rules.rule import ItemMatch
from tests.support.rules import BareItems, conditions, rule, values


@pytest.mark.parametrize(
    ("test", "value", "holds"),
    [
        ({"equals": "red"}, "red", True),
        ({"equals": "red"}, ("blue", "red"), True),
        ({"equals": "red"}, None, False),
        ({"equals": 1}, True, False),
        ({"equals": True}, 1, False),
        ({"equals": 1}, 1.0, True),
        ({"equals": 1}, "1", False),
        ({"any_of": ["red", "blue"]}, ("green", "blue"), True),
        ({"any_of": ["red", "blue"]}, "green", False),
        ({"none_of": ["red"]}, ("green", "red"), False),
        ({"none_of": ["red"]}, None, True),
        ({"none_of": ["red"]}, (), True),
        ({"at_least": 5}, 5, True),
        ({"at_least": 5}, (1, 7.5), True),
        ({"at_least": 5}, "7", False),
        ({"at_most": 5}, True, False),
        ({"at_least": 5, "at_most": 6}, 7, False),
        ({"at_least": 5, "at_most": 6}, (1, 7), False),
        ({"at_least": 5, "at_most": 6}, (1, 5.5, 7), True),
        ({"present": True}, False, True),
        ({"present": True}, (), False),
        ({"present": False}, None, True),
        ({"equals": "red", "any_of": ["blue", "red"]}, ("red", "green"), True),
        ({"any_of": ["red", "blue"], "none_of": ["red"]}, "blue", True),
    ],
)
def test_a_condition_holds(test: dict[str, Any], value: Attribute | None, holds: bool) -> None:
    found = Condition.model_validate({"name": "x", **test})
    assert found.holds({} if value is None else {"x": value}) is holds


@pytest.mark.parametrize(
    "test",
    [
        {"at_least": 9, "at_most": 5},
        {"equals": "red", "any_of": ["blue"]},
        {"equals": "red", "none_of": ["red", "blue"]},
        {"any_of": [1, True], "none_of": [True, 1.0]},
        {"present": False, "equals": 1},
        {"present": False, "at_most": 1},
    ],
)
def test_a_condition_that_nothing_can_pass_is_refused(test: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="can never hold"):
        Condition.model_validate({"name": "x", **test})


@given(conditions("x"), st.lists(st.none() | values, max_size=6))
def test_a_column_is_tested_as_each_value_is(condition: Condition, column: list[Any]) -> None:
    rows = [{} if value is None else {"x": value} for value in column]
    items = BareItems([Item(item=str(row), title="", attributes=own) for row, own in enumerate(rows)])
    mask = Columns(items).mask(ItemMatch(attributes=(condition,)))
    assert mask.tolist() == [condition.holds(own) for own in rows]


@given(conditions("x"), conditions("x"), st.none() | values)
def test_equal_conditions_hold_of_the_same_values(one: Condition, other: Condition, value: Any) -> None:
    own = {} if value is None else {"x": value}
    if one == other:
        assert hash(one) == hash(other)
        assert one.holds(own) is other.holds(own)


@pytest.mark.parametrize("test", ["equals", "any_of", "none_of"])
def test_rules_that_ask_for_1_and_for_true_each_have_their_items(test: str) -> None:
    items = BareItems(
        [
            Item(item="one", title="", attributes={"adult": 1}),
            Item(item="true", title="", attributes={"adult": True}),
        ]
    )
    wanted = {"equals": (1, True), "any_of": ([1], [True]), "none_of": ([True], [1])}[test]
    rules = [
        rule(name, "leave_out", items={"attributes": [{"name": "adult", test: asked}]})
        for name, asked in zip(("one", "true"), wanted, strict=True)
    ]
    filters = CompiledRules(rules, items).shaping(RequestFacts(0)).filters
    assert [one.mask.tolist() for one in filters] == [[True, False], [False, True]]
