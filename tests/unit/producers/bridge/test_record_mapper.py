"""Nested records of strangers become our events, or a refusal that names field and reason; nothing raises."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RefusalReason
from pipeline.events import Interaction, InteractionType, Item, ItemChange, User, decode, decode_item
from producers.bridge.decision import Decision
from producers.bridge.record_mapper import DELETED
from tests.support.bridge_harness import ACTS, CLICK, NOW, PRODUCTS, TOPICS, mapper, record

MUG = {"id": "mug", "name": "Mug", "stock": 3, "brand": "Ashdene"}


def decided(value: object, mapping: Any = ACTS, form: str = "json", key: str | None = None) -> Decision:
    return mapper(mapping, form).decide(record(value, key), "bridge-1", NOW)


def act_of(decision: Decision) -> Interaction:
    assert decision.refusal is None, decision.refusal
    (made,) = decision.records
    event = decode(Interaction, made.value or b"")
    assert (made.topic, made.key) == (TOPICS.interactions, event.user)
    return event


def refusal_of(decision: Decision) -> tuple[str, str]:
    assert decision.refusal is not None and not decision.records
    return decision.refusal.field, decision.refusal.code


def test_a_nested_record_becomes_an_act() -> None:
    act = act_of(decided(CLICK))
    assert (act.event_id, act.user, act.item, act.time) == ("bridge-1", "17850", "mug", NOW)
    assert (act.type, act.value, act.context) == (InteractionType.PURCHASE, 2.5, {"channel": "web"})


def test_an_id_of_its_own_and_a_missing_time_are_as_the_mapping_says() -> None:
    interactions = {**ACTS["interactions"], "event_id": "uuid"}
    del interactions["time"]
    act = act_of(decided({**CLICK, "uuid": "theirs"}, {**ACTS, "interactions": interactions}))
    assert (act.event_id, act.time) == ("theirs", NOW)


@pytest.mark.parametrize(
    ("value", "field", "code"),
    [
        (b"{", "event", RefusalReason.NOT_JSON),
        (b"\xff\xfe", "event", RefusalReason.NOT_JSON),
        ([1], "event", RefusalReason.NOT_JSON),
        (None, "event", RefusalReason.NO_VALUE),
        ({}, "actor.id", RefusalReason.MISSING_FIELD),
        ({**CLICK, "actor": {"id": {"x": 1}}}, "actor.id", RefusalReason.WRONG_TYPE),
        ({**CLICK, "actor": "ann"}, "actor.id", RefusalReason.MISSING_FIELD),
        ({**CLICK, "target": {"sku": "x" * 200}}, "item", RefusalReason.OUT_OF_BOUNDS),
        ({**CLICK, "verb": "sneezed"}, "verb", RefusalReason.UNKNOWN_TYPE),
        ({**CLICK, "at": "soon"}, "at", RefusalReason.TIME_UNIT),
        ({**CLICK, "at": NOW // 1000 + 3600}, "time", RefusalReason.TIME_AHEAD),
        ({**CLICK, "cents": "many"}, "cents", RefusalReason.WRONG_TYPE),
    ],
)
def test_a_malformed_record_is_refused_by_field_and_reason(value: object, field: str, code: str) -> None:
    assert refusal_of(decided(value)) == (field, code)


def test_an_unreadable_record_is_refused() -> None:
    decision = mapper().decide(record(b"", error="its checksum is wrong"), "bridge-1", NOW)
    assert refusal_of(decision) == ("record", RefusalReason.INVALID)


def test_a_rule_leaves_a_record_out() -> None:
    decision = decided({**CLICK, "actor": {"id": 1, "kind": "bot"}})
    assert decision == Decision(dropped="a bot")


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
CLOSE = st.fixed_dictionaries(
    {},
    optional={
        "actor": st.fixed_dictionaries({}, optional={"id": ANYTHING, "kind": ANYTHING}) | ANYTHING,
        "target": st.fixed_dictionaries({"sku": ANYTHING}),
        "verb": st.sampled_from(["bought", "view"]) | ANYTHING,
        "at": st.integers(0, 2 * 10**9) | ANYTHING,
        "cents": ANYTHING,
        **dict.fromkeys(("id", "name", "stock", "brand", "op", "after", "before", "payload"), ANYTHING),
    },
)


@given(
    value=CLOSE.map(orjson.dumps) | ANYTHING.map(orjson.dumps) | st.binary(max_size=20),
    key=st.none() | st.text(st.characters(codec="utf-8"), max_size=9),
    form=st.sampled_from(["json", "debezium"]),
    mapping=st.sampled_from([ACTS, PRODUCTS, {**ACTS, "items": {"item": "target.sku", "title": "name"}}]),
)
def test_any_record_is_decided(value: bytes, key: str | None, form: str, mapping: Any) -> None:
    decision = mapper(mapping, form).decide(record(value, key), "bridge-1", NOW)
    assert sum([bool(decision.records), decision.refusal is not None, decision.dropped is not None]) == 1


def test_a_product_becomes_an_item_and_a_part_of_it_a_change() -> None:
    (made,) = decided(MUG, PRODUCTS).records
    item = decode_item(made.value or b"")
    assert isinstance(item, Item) and (item.title, item.available, item.time) == ("Mug", True, NOW)
    (made,) = decided({"id": "mug", "stock": 0}, PRODUCTS).records
    change = decode_item(made.value or b"")
    assert isinstance(change, ItemChange) and (made.kind, change.available) == ("change", False)
    assert refusal_of(decided({"id": "mug"}, PRODUCTS)) == ("title", RefusalReason.MISSING_FIELD)
    assert refusal_of(decided({"name": "Mug"}, PRODUCTS)) == ("item", RefusalReason.MISSING_FIELD)


DRAFTS = [{"column": "state", "matches": "draft", "reason": "a draft"}]


def test_a_rule_leaves_out_rows_of_items_and_users_and_keeps_no_deleted_one() -> None:
    drafts = {**PRODUCTS, "drop": DRAFTS}
    assert decided({**MUG, "state": "draft"}, drafts) == Decision(dropped="a draft")
    assert decided({**MUG, "state": "on sale"}, drafts).records
    (removal,) = decided(change("d", before={**MUG, "state": "draft"}), drafts, "debezium").records
    assert (removal.key, removal.value) == ("mug", None)
    staff = {**CUSTOMERS, "drop": [{"column": "plan", "matches": "staff", "reason": "staff"}]}
    assert decided({"id": "ann", "plan": "staff"}, staff) == Decision(dropped="staff")
    assert decided({"id": "ann", "plan": "gold"}, staff).records


def test_a_list_is_without_the_values_that_are_missing() -> None:
    (made,) = decided({**MUG, "brand": ["Ashdene", None, " "]}, PRODUCTS).records
    assert decode_item(made.value or b"").attributes == {"brand": ("Ashdene",)}


@pytest.mark.parametrize("key", ["mug", '"mug"', '{"id": "mug"}'])
def test_a_record_without_value_removes_the_item_of_its_key(key: str) -> None:
    (made,) = decided(None, PRODUCTS, key=key).records
    assert (made.topic, made.key, made.value, made.kind) == (TOPICS.items, "mug", None, "removal")


def test_the_item_of_an_act_is_described_when_it_changes() -> None:
    described = mapper({**ACTS, "items": {"item": "target.sku", "title": "target.name"}})

    def kinds(name: str | None) -> list[str]:
        target = {"sku": "mug", **({"name": name} if name else {})}
        return [made.kind for made in described.decide(record({**CLICK, "target": target}), "a", NOW).records]

    assert [kinds(name) for name in ("Mug", "Mug", None, "Cup")] == [
        *[["item", "interaction"], ["interaction"], ["interaction"], ["item", "interaction"]]
    ]


def change(op: str, after: object = None, before: object = None) -> dict[str, object]:
    return {"op": op, "after": after, "before": before, "ts_ms": NOW, "source": {"table": "products"}}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("op", ["c", "u", "r"])
def test_an_upsert_of_debezium_is_the_row_after_it(op: str, wrapped: bool) -> None:
    value: dict[str, object] = change(op, MUG, {**MUG, "name": "Old"})
    value = {"schema": {"type": "struct"}, "payload": value} if wrapped else value
    (made,) = decided(value, PRODUCTS, "debezium").records
    item = decode_item(made.value or b"")
    assert isinstance(item, Item) and item.title == "Mug"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (change("d", before=MUG), None),
        (change("d"), '{"schema": {}, "payload": {"id": "mug"}}'),
        (change("d"), '{"schema": {}, "payload": "mug"}'),
        (change("d"), '"mug"'),
        (None, '{"id": "mug"}'),
        ({"schema": {}, "payload": None}, '{"id": "mug"}'),
    ],
)
def test_a_deletion_of_debezium_removes_the_item(value: object, key: str | None) -> None:
    (made,) = decided(value, PRODUCTS, "debezium", key).records
    assert (made.key, made.value) == ("mug", None)


@pytest.mark.parametrize("placeholder", ["__debezium_unavailable_value", ["__debezium_unavailable_value"]])
@pytest.mark.parametrize("column", ["name", "brand"])
def test_a_large_value_that_was_not_sent_is_refused_with_the_remedy(column: str, placeholder: object) -> None:
    decision = decided(change("u", {**MUG, column: placeholder}), PRODUCTS, "debezium")
    assert refusal_of(decision) == (column, RefusalReason.WRONG_TYPE)
    assert decision.refusal is not None and "REPLICA IDENTITY FULL" in decision.refusal.reason
    unread = {**MUG, "notes": placeholder}
    assert decided(change("u", unread), PRODUCTS, "debezium").records, "a column that is not mapped"


def test_a_key_that_is_text_in_json_is_the_same_user_as_the_plain_text() -> None:
    by_key = {**ACTS, "interactions": {**ACTS["interactions"], "user": "$key"}}
    users = [act_of(decided(CLICK, by_key, key=key)).user for key in ("17850", '"17850"', '"\\u0031"')]
    assert users == ["17850", "17850", "1"]
    assert act_of(decided(CLICK, by_key, key='"17850')).user == '"17850'


@pytest.mark.parametrize("form", ["json", "debezium"])
@pytest.mark.parametrize("deleted", ["true", True])
def test_a_flattened_row_of_debezium_says_whether_it_was_deleted(form: str, deleted: str | bool) -> None:
    (made,) = decided({"id": "mug", "name": None, "__deleted": deleted}, PRODUCTS, form).records
    assert (made.key, made.value) == ("mug", None)
    (made,) = decided({"name": None, "__deleted": deleted}, PRODUCTS, form, '{"id": "mug"}').records
    assert (made.key, made.value) == ("mug", None)
    (made,) = decided({**MUG, "__deleted": "false"}, PRODUCTS, form).records
    item = decode_item(made.value or b"")
    assert isinstance(item, Item) and (item.item, item.title) == ("mug", "Mug")
    assert item.attributes == {"brand": "Ashdene"}
    assert act_of(decided({**CLICK, "__deleted": "false"}, ACTS, form)).item == "mug"
    assert decided({**CLICK, "__deleted": deleted}, ACTS, form).dropped == DELETED


def test_a_flattened_row_in_a_wrapper_is_deleted_too() -> None:
    value = {"schema": {}, "payload": {"id": "mug", "__deleted": "true"}}
    for form, item in ("json", "payload.id"), ("debezium", "id"):
        (made,) = decided(value, {"items": {"item": item, "title": "name"}}, form).records
        assert (made.key, made.value) == ("mug", None)


DOCUMENT = """{"_id": {"$oid": "596e275826f08b2730779e1f"}, "name": "Mug", "stock": {"$numberLong": "3"},
"brand": "Ashdene", "released": {"$date": 1700000000000}, "tags": ["a", {"$numberInt": "7"}]}"""
DOCUMENTS = {
    "items": {
        "item": "_id",
        "title": "name",
        "available": "stock",
        "published": "released",
        "attributes": {"brand": "brand", "tags": "tags"},
        "times": {"format": "ms"},
    }
}
DOCUMENT_KEY = orjson.dumps({"id": '{"$oid": "596e275826f08b2730779e1f"}'}).decode()


@pytest.mark.parametrize("op", ["c", "u", "r"])
def test_a_document_of_mongodb_is_a_text(op: str) -> None:
    (made,) = decided(change(op, DOCUMENT), DOCUMENTS, "debezium", DOCUMENT_KEY).records
    item = decode_item(made.value or b"")
    assert isinstance(item, Item)
    assert (item.item, item.title, item.available) == ("596e275826f08b2730779e1f", "Mug", True)
    assert item.published == 1_700_000_000_000
    assert item.attributes == {"brand": "Ashdene", "tags": ("a", "7")}


@pytest.mark.parametrize("value", [change("d"), change("d", before=DOCUMENT), None])
def test_a_deleted_document_of_mongodb_removes_its_item(value: object) -> None:
    (made,) = decided(value, DOCUMENTS, "debezium", DOCUMENT_KEY).records
    assert (made.key, made.value) == ("596e275826f08b2730779e1f", None)


@pytest.mark.parametrize(
    ("after", "code"),
    [
        ("{", RefusalReason.NOT_JSON),
        ("[1]", RefusalReason.MISSING_FIELD),
        ("[" * 400 + "]" * 400, RefusalReason.MISSING_FIELD),
    ],
)
def test_a_text_that_is_no_document_is_refused(after: str, code: str) -> None:
    assert refusal_of(decided(change("c", after), DOCUMENTS, "debezium")) == ("after", code)


def test_a_document_of_many_levels_is_read() -> None:
    deep = '{"_id": "mug", "name": "Mug", "notes": ' + '{"a": ' * 400 + "1" + "}" * 401
    assert decided(change("c", deep), DOCUMENTS, "debezium").records


def test_a_deleted_act_stays_done_and_a_tombstone_says_nothing() -> None:
    assert decided(change("d", before=CLICK), ACTS, "debezium").dropped
    assert decided(None, ACTS, "debezium").dropped
    assert decided(None, ACTS, "debezium", '{"id": 7}').dropped == DELETED
    assert decided(None, ACTS, key="7").dropped == DELETED
    assert decided(change("t"), PRODUCTS, "debezium").dropped


def test_the_envelope_can_be_mapped() -> None:
    times = {"column": "$envelope.ts_ms"}
    mapping = {**ACTS, "interactions": {**ACTS["interactions"], "time": times}, "time": {"format": "ms"}}
    mapping["drop"] = [{"column": "$envelope.op", "matches": "u", "reason": "an order that changed"}]
    assert act_of(decided(change("c", CLICK), mapping, "debezium")).time == NOW
    assert decided(change("u", CLICK), mapping, "debezium").dropped == "an order that changed"


@pytest.mark.parametrize(
    ("value", "field"), [(CLICK, "op"), (change("x"), "op"), (change("c"), "after"), ({"op": "c"}, "after")]
)
def test_another_form_than_debeziums_is_refused(value: object, field: str) -> None:
    assert refusal_of(decided(value, ACTS, "debezium"))[0] == field


ORDER = {
    "customer": 7,
    "id": "order-1",
    "lines": [
        {"sku": "cup", "n": 2},
        {"sku": "mug", "n": "x"},
        {"sku": "gift", "n": 1},
        {"sku": "cup", "n": 2},
    ],
}
LINES: dict[str, Any] = {
    "each": {"column": "lines"},
    "interactions": {
        "user": "customer",
        "item": "lines.sku",
        "type": {"default": "purchase"},
        "value": "lines.n",
    },
    "drop": [{"column": "lines.sku", "matches": "gift", "reason": "a gift"}],
}


@pytest.mark.parametrize(("column", "first"), [(None, "bridge-1"), ("id", "order-1")])
def test_the_lines_of_an_order_are_acts_with_ids_of_their_own(column: str | None, first: str) -> None:
    interactions = {**LINES["interactions"], **({"event_id": column} if column else {})}
    decision = decided(ORDER, {**LINES, "interactions": interactions})
    acts = [decode(Interaction, made.value or b"") for made in decision.records]
    assert [(act.event_id, act.item) for act in acts] == [(first, "cup"), (f"{first}-4", "cup")]
    assert decision.refusal is not None and decision.refusal.field == "lines.n"
    assert decision.dropped == "a gift"


def test_an_order_without_lines_is_refused() -> None:
    assert refusal_of(decided({**ORDER, "lines": []}, LINES)) == ("lines.sku", RefusalReason.MISSING_FIELD)


CUSTOMERS: dict[str, Any] = {"users": {"user": ["id", "$key"], "attributes": {"plan": "plan"}}}


def user_in(decision: Decision, number: int = 0) -> User:
    made = decision.records[number]
    assert made.topic == TOPICS.users and made.value is not None
    return decode(User, made.value)


def test_rows_about_users_become_users_and_removals() -> None:
    upsert = user_in(decided({"id": 17850, "plan": "gold"}, CUSTOMERS))
    assert (upsert.user, upsert.attributes) == ("17850", {"plan": "gold"})
    assert user_in(decided({"id": "ann"}, CUSTOMERS)).attributes == {}, "nothing is known any more"
    (removal,) = decided(None, CUSTOMERS, key="17850").records
    assert (removal.topic, removal.key, removal.value) == (TOPICS.users, "17850", None)
    assert refusal_of(decided({"plan": "gold"}, CUSTOMERS)) == ("user", RefusalReason.MISSING_FIELD)


def test_an_act_describes_its_user_once_until_it_says_something_else() -> None:
    users = {"user": "actor.id", "attributes": {"country": "actor.country"}}
    reads = mapper({**ACTS, "users": users})

    def topics(country: str | None) -> list[str]:
        actor = {**CLICK["actor"], **({"country": country} if country else {})}
        found = reads.decide(record({**CLICK, "actor": actor}), "bridge-1", NOW)
        return [made.topic for made in found.records]

    both, alone = [TOPICS.users, TOPICS.interactions], [TOPICS.interactions]
    assert [topics(country) for country in ("DE", "DE", None, "FR")] == [both, alone, alone, both]
