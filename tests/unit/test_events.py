"""Events survive the wire unchanged, and what breaks the schema is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidEvent
from pipeline.events import (
    MAX_INTEGER,
    MAX_WIRE_BYTES,
    NEW_IN_2,
    READABLE_VERSIONS,
    Event,
    Features,
    Impression,
    Interaction,
    InteractionType,
    Item,
    ItemChange,
    User,
    decode,
    decode_item,
    encode,
    event_digest,
    validate,
)
from pipeline.rules.rule import decode_rule, encode_rule

Kind = type[Interaction] | type[Item] | type[ItemChange] | type[User] | type[Impression]

VALID: dict[Kind, dict[str, Any]] = {
    ItemChange: {"item": "85123A"},
    Interaction: {"event_id": "e-1", "user": "17850", "item": "85123A", "type": "purchase", "time": 5},
    Item: {"item": "85123A", "title": "White hanging heart T-light holder"},
    User: {"user": "17850"},
    Impression: {
        "impression_id": "i-1",
        "user": "17850",
        "snapshot": "3-1200",
        "time": 5,
        "items": ["85123A", "71053"],
        "scores": [0.5, 0.25],
        "offsets": {"interactions/0": 12},
    },
}

KINDS: dict[str, type[Interaction] | type[User] | type[Impression]] = {
    "interaction": Interaction,
    "user": User,
    "impression": Impression,
}
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
times = st.integers(0, 32_503_680_000_000)
finite = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
contexts = st.dictionaries(ids, texts | st.booleans() | integers | finite, max_size=4)
GOLDEN = Path(__file__).parent / "golden"
"""Records as each schema version has them, one a line; they stay readable for ever."""

interactions = st.builds(
    Interaction,
    event_id=ids,
    user=ids,
    item=ids,
    type=st.sampled_from(InteractionType),
    time=times,
    value=st.none() | finite,
    session=st.none() | ids,
    impression=st.none() | ids,
    context=contexts,
)
scalars = texts | st.booleans() | integers | finite
items = st.builds(
    Item,
    item=ids,
    attributes=st.dictionaries(ids, scalars | st.lists(scalars, max_size=4).map(tuple), max_size=4),
    published=st.none() | st.integers(0, 999),
    expires=st.none() | st.integers(1_000, 2_000),
    media=st.dictionaries(ids, st.just("https://cdn.example/mug.jpg"), max_size=2),
    vectors=st.dictionaries(ids, st.lists(finite, min_size=1, max_size=4).map(tuple), max_size=2),
    title=texts,
    description=texts,
    category=st.none() | texts.filter(lambda text: len(text) <= 256),
    available=st.booleans(),
    time=times,
)


users = st.builds(User, user=ids, attributes=st.dictionaries(ids, scalars, max_size=4), time=times)


@st.composite
def impressions(draw: st.DrawFn) -> Impression:
    propensity = st.floats(0, 1, exclude_min=True)
    shown = draw(st.lists(st.tuples(ids, finite, propensity), min_size=1, max_size=20))
    drawn: dict[str, Any] = {
        "policy": draw(ids),
        "policy_version": draw(ids),
        "propensities": tuple(propensity for _, _, propensity in shown),
        "pool": draw(st.integers(0, 10_000)),
    }
    return Impression(
        impression_id=draw(ids),
        user=draw(ids),
        snapshot=draw(ids),
        time=draw(times),
        items=tuple(item for item, _, _ in shown),
        scores=tuple(score for _, score, _ in shown),
        offsets=draw(st.dictionaries(ids, st.integers(0, MAX_INTEGER), max_size=4)),
        context=draw(contexts),
        features=draw(st.sampled_from([None, Features(layout="1", state="ADw=", items="ADwAPA==")])),
        **draw(st.sampled_from([drawn, {}])),
    )


def refusal(attempt: Callable[[], object]) -> InvalidEvent:
    """The InvalidEvent that the attempt must end in."""
    with pytest.raises(InvalidEvent) as caught:
        attempt()
    return caught.value


def wire_of(kind: Kind, fields: Mapping[str, object]) -> bytes:
    return orjson.dumps({"v": kind.version, "kind": kind.kind, **fields})


@given(interactions | items | users | impressions())
def test_an_event_survives_the_wire_with_its_types(event: Event) -> None:
    wire = encode(event)
    read: Event = decode(type(event), wire)
    assert read == event
    assert repr(read) == repr(event), "1, 1.0 and True are equal but not the same"
    assert encode(read) == wire


@pytest.mark.parametrize("kind", VALID)
def test_the_least_event_of_each_kind_is_valid(kind: Kind) -> None:
    event = decode(kind, wire_of(kind, VALID[kind]))
    assert orjson.loads(encode(event)) == {"v": kind.version, "kind": kind.kind, **VALID[kind]}


@pytest.mark.parametrize(
    ("wire", "field", "reason"),
    [
        (b"", "event", "not JSON"),
        (b"\xff\xfe", "event", "not JSON"),
        (b'{"v":1,"kind":"item","item":"x","title":NaN}', "event", "not JSON"),
        (b'{"v":1,"kind":"item","item":"\\ud800","title":""}', "event", "not JSON"),
        (b"[1]", "event", "not a JSON object"),
        (b"[" * MAX_WIRE_BYTES, "event", "not JSON"),
        (b" " * (MAX_WIRE_BYTES + 1), "event", "larger than 65536 bytes"),
        (b'{"kind":"item","item":"x","title":""}', "v", "schema version must be 1 or 2"),
        (b'{"v":3,"kind":"item","item":"x","title":""}', "v", "schema version must be 1 or 2"),
        (b'{"v":true,"kind":"item","item":"x","title":""}', "v", "schema version must be 1 or 2"),
        (b'{"v":1,"item":"x","title":""}', "kind", "must be 'item'"),
        (b'{"v":1,"kind":"interaction","item":"x","title":""}', "kind", "must be 'item'"),
    ],
)
def test_a_bad_envelope_is_refused(wire: bytes, field: str, reason: str) -> None:
    error = refusal(lambda: decode(Item, wire))
    assert error.field == field
    assert reason in error.reason


DRAWN: dict[str, object] = {
    "policy": "plackett_luce",
    "policy_version": "1 pool=5",
    "propensities": [0.5, 1.0],
    "pool": 5,
}
"""What a policy did, as a valid impression has it."""
INVALID: list[tuple[Kind, dict[str, object], str, str]] = [
    (Interaction, {"nonsense": 1}, "nonsense", "not permitted"),
    (Interaction, {"user": ""}, "user", "at least 1 character"),
    (Interaction, {"user": "x" * 129}, "user", "at most 128 characters"),
    (Interaction, {"user": "x\n"}, "user", "match pattern"),
    (Interaction, {"user": 17850}, "user", "valid string"),
    (Interaction, {"user": "\ud800"}, "user", "unicode"),
    (Interaction, {"type": "buy"}, "type", "'purchase'"),
    (Interaction, {"time": "5"}, "time", "valid integer"),
    (Interaction, {"time": True}, "time", "valid integer"),
    (Interaction, {"time": 5.5}, "time", "send a whole number of milliseconds"),
    (Interaction, {"time": 1_790_000_000.25}, "time", "is in seconds"),
    (Interaction, {"time": float("nan")}, "time", "valid integer"),
    (Interaction, {"time": -1}, "time", "greater than or equal to 0"),
    (Interaction, {"time": 32_503_680_000_001}, "time", "less than or equal to"),
    (Interaction, {"value": "5"}, "value", "valid number: it is text, send a number, without quotes"),
    (Interaction, {"value": "1,5"}, "value", "with a point before decimals"),
    (Interaction, {"value": True}, "value", "valid number"),
    (Interaction, {"value": float("nan")}, "value", "finite number"),
    (Interaction, {"value": float("inf")}, "value", "finite number"),
    (Interaction, {"value": 10**400}, "value", "valid number"),
    (Interaction, {"context": {"page": float("nan")}}, "context.page", "finite number"),
    (Interaction, {"context": {"page": None}}, "context.page", "valid string"),
    (Interaction, {"context": {"page": [1]}}, "context.page", "valid string"),
    (Interaction, {"context": {"page": 10**400}}, "context.page", "less than or equal to"),
    (Interaction, {"context": {"page": "x" * 513}}, "context.page", "at most 512 characters"),
    (Interaction, {"context": {"": 1}}, "context.", "at least 1 character"),
    (Interaction, {"context": {str(n): n for n in range(33)}}, "context", "at most 32"),
    (Item, {"title": "x" * 1_001}, "title", "at most 1000 characters"),
    (Item, {"title": None}, "title", "valid string"),
    (Item, {"description": "\udfff"}, "description", "unicode"),
    (Item, {"available": "yes"}, "available", "valid boolean: send true or false, without quotes"),
    (Item, {"available": 1}, "available", "send true or false"),
    (Item, {"attributes": {"brand": None}}, "attributes.brand", "valid string"),
    (Item, {"attributes": {"brand": None}}, "attributes.brand", "number: leave it out where it is not known"),
    (
        Item,
        {"attributes": {"size": {"width": 5}}},
        "attributes.size",
        "a name of its own, such as size.width",
    ),
    (Item, {"attributes": {"sizes": [["S"], "M"]}}, "attributes.sizes", "send all values in one list"),
    (Item, {"attributes": {"sizes": [1, [2]]}}, "attributes.sizes", "valid"),
    (
        Item,
        {"attributes": {"sizes": ["x"] * 65}},
        "attributes.sizes",
        "List should have at most 64 items, not 65",
    ),
    (Item, {"attributes": {"price": float("inf")}}, "attributes.price", "finite number"),
    (Item, {"attributes": {str(n): n for n in range(65)}}, "attributes", "at most 64"),
    (Item, {"published": "tomorrow"}, "published", "ISO 8601"),
    (Item, {"published": 2_000, "expires": 2_000}, "expires", "must be after published"),
    (Item, {"media": {"image": "ftp://cdn/mug.jpg"}}, "media.image", "match pattern"),
    (Item, {"media": {"image": "https://cdn/a b"}}, "media.image", "match pattern"),
    (Item, {"vectors": {"image": []}}, "vectors.image", "at least 1 item"),
    (Item, {"vectors": {"image": [float("nan")]}}, "vectors.image", "finite number"),
    (ItemChange, {"published": 2_000, "expires": 1_000}, "expires", "must be after published"),
    (User, {"item": "mug"}, "item", "put it into attributes"),
    (User, {"attributes": {"tier": None}}, "attributes.tier", "valid string"),
    (User, {"attributes": {str(n): n for n in range(65)}}, "attributes", "at most 64"),
    (User, {"time": -1}, "time", "greater than or equal to 0"),
    (Impression, {"scores": [0.5]}, "scores", "there must be one per item"),
    (Impression, {"scores": [0.5, float("inf")]}, "scores.1", "finite number"),
    (Impression, {**DRAWN, "propensities": [0.5]}, "propensities", "there must be one per item"),
    (Impression, {**DRAWN, "propensities": [0.5, 1.5]}, "propensities.1", "less than or equal to 1"),
    (Impression, {**DRAWN, "propensities": [0.5, 0]}, "propensities.1", "greater than 0"),
    (Impression, {**DRAWN, "propensities": [0.5, float("nan")]}, "propensities.1", "finite number"),
    (Impression, {**DRAWN, "pool": -1}, "pool", "greater than or equal to 0"),
    *(
        (Impression, {name: value for name, value in DRAWN.items() if name != without}, "pool", "all or none")
        for without in DRAWN
    ),
    (Impression, {"items": [], "scores": []}, "items", "at least 1 item"),
    (Impression, {"items": ["x", 3]}, "items.1", "valid string"),
    (Impression, {"items": "xy"}, "items", "valid tuple"),
    (Impression, {"offsets": {"t/0": -1}}, "offsets.t/0", "greater than or equal to 0"),
    (Impression, {"offsets": {"t/0": 2**63}}, "offsets.t/0", "less than or equal to"),
]
"""Changes of a valid event, with the field and the reason for which each is refused."""


@pytest.mark.parametrize(("kind", "change", "field", "reason"), INVALID)
def test_a_bad_field_is_refused_by_name(
    kind: Kind, change: dict[str, object], field: str, reason: str
) -> None:
    error = refusal(lambda: validate(kind, {**VALID[kind], **change}))
    assert error.field == field
    assert reason in error.reason


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in VALID for field in VALID[kind]])
def test_each_required_field_is_missed(kind: Kind, field: str) -> None:
    fields = {name: value for name, value in VALID[kind].items() if name != field}
    error = refusal(lambda: decode(kind, wire_of(kind, fields)))
    assert error.field == field
    assert error.reason == "Field required"


@given(st.dictionaries(st.text(max_size=20), st.recursive(st.none() | finite | st.text(), st.lists)))
def test_any_other_object_is_an_invalid_event_and_its_report_is_text(fields: dict[str, object]) -> None:
    report = str(refusal(lambda: validate(Interaction, fields)))
    assert report.encode()


def test_a_refusal_never_repeats_the_value() -> None:
    error = refusal(lambda: validate(Interaction, {**VALID[Interaction], "user": "secret\x00"}))
    assert "secret" not in str(error)


def test_a_hostile_field_name_is_cut_short() -> None:
    error = refusal(lambda: validate(Item, {**VALID[Item], "x" * 50_000: 1}))
    assert len(error.field) < 200


def test_an_event_that_no_reader_would_accept_is_not_written() -> None:
    item = Item(item="x", title="", description="\x01" * 16_000)  # six bytes each in JSON
    error = refusal(lambda: encode(item))
    assert error.field == "event"
    assert "larger than 65536 bytes" in error.reason


@pytest.mark.parametrize("line", [line for file in sorted(GOLDEN.iterdir()) for line in file.open("rb")])
def test_records_of_every_schema_version_stay_readable(line: bytes) -> None:
    fields = orjson.loads(line)
    if fields["kind"] == "rule":
        assert orjson.loads(encode_rule(decode_rule(line))) == fields
        return
    event = decode_item(line) if fields["kind"] == "item" else decode(KINDS[fields["kind"]], line)
    if fields["kind"] == "impression" and fields["v"] < 3:
        fields["scores"] = fields.pop("propensities")
    assert orjson.loads(encode(event)) == fields | {"v": event.version}


def test_every_schema_version_has_golden_records() -> None:
    assert sorted(file.name for file in GOLDEN.iterdir()) == [
        f"events-{version}.jsonl" for version in READABLE_VERSIONS
    ]


@pytest.mark.parametrize("version", [1, 2])
def test_what_older_impressions_call_propensities_are_scores(version: int) -> None:
    """They were the mixture's probabilities of a list that was not drawn."""
    fields = {**VALID[Impression], "v": version, "kind": "impression"}
    fields["propensities"] = fields.pop("scores")
    read = decode(Impression, orjson.dumps(fields))
    assert read.scores == (0.5, 0.25)
    assert (read.policy, read.policy_version, read.propensities, read.pool) == (None, None, None, None)
    for name in ("scores", "policy", "policy_version", "pool"):
        error = refusal(lambda name=name: decode(Impression, orjson.dumps({**fields, name: 1})))  # type: ignore[misc]
        assert (error.field, error.reason) == (name, 'is new in schema version 3: send "v": 3')


@pytest.mark.parametrize("field", sorted(NEW_IN_2))
def test_a_record_of_version_1_has_no_field_of_version_2(field: str) -> None:
    error = refusal(lambda: decode_item(orjson.dumps({"v": 1, "kind": "item", "item": "x", field: {}})))
    assert (error.field, error.reason) == (field, 'is new in schema version 2: send "v": 2')


def test_version_1_has_no_users() -> None:
    error = refusal(lambda: decode(User, b'{"v": 1, "kind": "user", "user": "ann"}'))
    assert (error.field, error.reason) == ("kind", 'is new in schema version 2: send "v": 2')


def test_an_item_reads_as_title_and_description() -> None:
    assert Item(item="x", title="Teapot").text == "Teapot"
    assert Item(item="x", title="Teapot", description="For two.").text == "Teapot. For two."


@given(ids)
def test_an_event_digest_fits_a_signed_64_bit_integer(event_id: str) -> None:
    assert 0 <= event_digest(event_id) < 2**63


def test_event_digests_are_pinned_because_checkpoints_hold_them() -> None:
    assert event_digest("e-1") == 5_730_540_966_193_084_824
