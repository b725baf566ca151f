"""Rules survive the wire, and what is out of bounds is refused by name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.errors import InvalidEvent
from pipeline.eventlog.port import Record
from pipeline.events import Item
from pipeline.rules.columns import Columns
from pipeline.rules.conditions import key_of
from pipeline.rules.rule import ItemMatch, build_rule, decode_rule, encode_rule, rule_of
from pipeline.rules.time_window import TimeWindow
from tests.support.rules import BRAND, BareItems, rule

VALID: list[dict[str, Any]] = [
    {"name": "a", "action": "keep", "items": {"categories": ["mugs"]}},
    {"name": "b", "action": "leave_out", "items": {"ids": ["x", "y"]}, "enabled": False},
    {"name": "c", "action": "boost", "nats": 0.7, "items": {"attributes": [{"name": "new", "equals": True}]}},
    {"name": "d", "action": "bury", "nats": 20.0, "items": BRAND, "priority": -1_000},
    {"name": "e", "action": "pin", "item": "x", "place": 1_000, "when": {"starts": 5, "ends": 6}},
    {"name": "f", "action": "cap", "most": 3, "attribute": "brand", "when": {"hours": "22:00-06:00"}},
    {
        "name": "g.1-2_3",
        "action": "cap",
        "most": 1,
        "when": {
            "user": [{"name": "age", "at_least": 18.0, "at_most": 30.0}],
            "request": [{"name": "page", "none_of": ["home", 5, True]}],
            "weekdays": ["monday", "sunday"],
            "time_zone": "Europe/Berlin",
        },
    },
]


@pytest.mark.parametrize("fields", VALID)
def test_a_rule_survives_the_wire(fields: dict[str, Any]) -> None:
    wire = encode_rule(build_rule(fields))
    assert decode_rule(wire) == build_rule(fields)
    assert orjson.loads(wire) == {"v": 2, "kind": "rule", **fields}


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"action": "promote"}, "action", "must be keep, leave_out, boost, bury, pin, cap"),
        ({"action": None}, "action", "must be keep"),
        ({"nat": 0.5}, "nat", "did you mean nats?"),
        ({"place": 1}, "place", "there are only name"),
        ({"name": "no spaces"}, "name", "match pattern"),
        ({"name": "x" * 65}, "name", "match pattern"),
        ({"nats": 0}, "nats", "greater than 0"),
        ({"nats": 20.5}, "nats", "less than or equal to 20"),
        ({"nats": float("nan")}, "nats", "finite"),
        ({"nats": "1"}, "nats", "valid number"),
        ({"priority": 1_001}, "priority", "less than or equal to 1000"),
        ({"enabled": 1}, "enabled", "valid boolean"),
        ({"items": {}}, "rule", "acts on every item"),
        ({"nats": None}, "nats", "must be a valid number"),
        ({"items": {"brand": "x"}}, "items.brand", "is unknown: there are only ids, categories, attributes"),
        ({"items": {"category": "x"}}, "items.category", "did you mean categories?"),
        ({"items": {"categories": "mugs"}}, "items.categories", "must be a valid list"),
        (
            {"items": {"attributes": [{"name": "b", "contains": "x"}]}},
            "items.attributes.0.contains",
            "equals",
        ),
        (
            {"items": {"attributes": [{"name": "b", "equals": [5]}]}},
            "items.attributes.0.equals",
            "valid string",
        ),
        ({"items": {"attributes": [{"name": "brand"}]}}, "items.attributes.0", "has no test"),
        ({"items": {"attributes": [{"name": "b", "equals": None}]}}, "items.attributes.0", "has no test"),
        ({"items": {"attributes": [{"name": "b", "any_of": []}]}}, "items.attributes.0.any_of", "at least 1"),
        ({"items": {"attributes": [{"name": "b", "equals": 1}] * 17}}, "items.attributes", "at most 16"),
        ({"items": {"ids": [str(n) for n in range(1_001)]}}, "items.ids", "at most 1000"),
        ({"when": {"starts": 6, "ends": 6}}, "when.ends", "must be after starts"),
        ({"when": {"starts": "2026-12-01"}}, "when.starts", "ISO 8601"),
        ({"when": {"weekdays": ["someday"]}}, "when.weekdays.0", "monday"),
        ({"when": {"hours": "24:00-25:00"}}, "when.hours", "09:00-17:30"),
        ({"when": {"time_zone": "Mars/Olympus"}}, "when.time_zone", "is no time zone"),
        ({"when": {"time_zone": "../../etc/passwd"}}, "when.time_zone", "is no time zone"),
        ({"when": {"user": [{"name": "age", "at_least": True}]}}, "when.user.0.at_least", "valid number"),
    ],
)
def test_a_bad_field_is_refused_by_name(change: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        build_rule({"name": "c", "action": "boost", "nats": 1.0, "items": BRAND, **change})
    assert caught.value.field == field
    assert reason in caught.value.reason


def test_a_rule_that_nothing_can_pass_is_read_where_an_earlier_release_wrote_it() -> None:
    items = {"attributes": [{"name": "price", "at_least": 9.0, "at_most": 5.0}]}
    fields = {"name": "none", "action": "keep", "items": items}
    read = decode_rule(orjson.dumps({"v": 2, "kind": "rule", **fields}))
    mask = Columns(BareItems([Item(item="a", title="", attributes={"price": (1, 60)})])).mask(read.items)
    assert mask.tolist() == [False]
    with pytest.raises(InvalidEvent, match="at_least is above at_most"):
        build_rule(fields)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        (None, encode_rule(rule("a", "cap", most=1)), "name"),
        ("b", encode_rule(rule("a", "cap", most=1)), "name"),
        ("a", b"[]", "event"),
        ("a", b'{"v": 1, "kind": "rule"}', "v"),
        ("a", b'{"v": 2, "kind": "item"}', "kind"),
    ],
)
def test_a_record_that_is_no_rule_is_refused(key: str | None, value: bytes, field: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        rule_of(Record("shop.rules", 0, 0, 0, key, value))
    assert caught.value.field == field


def test_a_tombstone_names_the_rule_to_remove() -> None:
    assert rule_of(Record("shop.rules", 0, 0, 0, "a", None)) == "a"


def test_a_rule_that_no_reader_would_accept_is_not_written() -> None:
    many = [{"name": str(n), "any_of": ["x" * 512] * 20} for n in range(16)]
    with pytest.raises(InvalidEvent, match="larger than"):
        encode_rule(rule("a", "keep", items={"attributes": many}))


WEDNESDAY_NOON = 1_795_608_000_000  # 2026-11-25T12:00Z


@pytest.mark.parametrize(
    ("window", "holds"),
    [
        ({}, True),
        ({"starts": WEDNESDAY_NOON}, True),
        ({"starts": WEDNESDAY_NOON + 1}, False),
        ({"ends": WEDNESDAY_NOON + 1}, True),
        ({"ends": WEDNESDAY_NOON}, False),
        ({"weekdays": ["wednesday"]}, True),
        ({"weekdays": ["thursday", "tuesday"]}, False),
        ({"weekdays": ["thursday"], "time_zone": "Pacific/Kiritimati"}, True),
        ({"hours": "12:00-12:01"}, True),
        ({"hours": "00:00-12:00"}, False),
        ({"hours": "13:00-14:00", "time_zone": "Europe/Berlin"}, True),
        ({"hours": "22:00-06:00"}, False),
        ({"hours": "22:00-12:01"}, True),
        ({"hours": "11:00-24:00"}, True),
    ],
)
def test_a_window_holds_at_its_times(window: dict[str, Any], holds: bool) -> None:
    assert TimeWindow.model_validate(window).holds(WEDNESDAY_NOON) is holds


def test_items_match_by_id_category_and_attributes() -> None:
    items = BareItems(
        [
            Item(item="a", title="", category="mugs", attributes={"brand": "x", "price": 5}),
            Item(item="b", title="", category="mugs", attributes={"brand": "y"}),
            Item(item="c", title="", category="tea", attributes={"brand": "x", "price": 9.5}),
            None,
        ]
    )

    def matching(**match: Any) -> list[str]:
        mask = Columns(items).mask(ItemMatch.model_validate(match))
        return [item.item for item, is_in in zip(items.entries, mask, strict=True) if is_in and item]

    assert matching() == ["a", "b", "c"]
    assert matching(ids=["c", "b", "none"]) == ["b", "c"]
    assert matching(categories=["mugs"]) == ["a", "b"]
    assert matching(categories=["mugs", "tea"], attributes=[{"name": "brand", "equals": "x"}]) == ["a", "c"]
    assert matching(attributes=[{"name": "price", "at_least": 5, "at_most": 9}]) == ["a"]
    assert matching(attributes=[{"name": "price", "present": False}]) == ["b"]


def test_category_is_the_field_of_that_name_unless_an_item_has_an_attribute_of_it() -> None:
    items = BareItems(
        [
            Item(item="a", title="", category="mugs"),
            Item(item="b", title="", category="mugs", attributes={"category": "tea"}),
            Item(item="c", title=""),
            None,
        ]
    )
    column = Columns(items).of("category")
    assert (column.rows.tolist(), [*column.numbering]) == ([0, 1], [key_of("mugs"), key_of("tea")])
    named = ItemMatch.model_validate({"attributes": [{"name": "category", "equals": "mugs"}]})
    assert Columns(items).mask(named).tolist() == [True, False, False, False]


@pytest.mark.parametrize("field", ["starts", "ends"])
def test_times_in_seconds_are_refused(field: str) -> None:
    with pytest.raises(InvalidEvent, match="in seconds"):
        rule("r", "cap", most=1, when={field: 1_790_000_000})
