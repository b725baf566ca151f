"""The schemas of the docs accept what the event classes accept, and refuse what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from docs.openapi import openapi
from docs.schemas import FOLDER, KINDS, asyncapi, documents, event_schema
from pipeline.errors import InvalidEvent
from pipeline.events import (
    READABLE_VERSIONS,
    Event,
    Interaction,
    Item,
    ItemChange,
    decode,
    decode_item,
    encode,
)
from pipeline.rules.rule import decode_rule
from tests.unit.test_events import GOLDEN, INVALID, VALID, Kind, impressions, interactions, items, users

VERSIONS = {kind.kind: kind.version for kind in KINDS}
VALIDATORS = {kind: Draft202012Validator(event_schema(kind)) for kind in KINDS}
BY_FIELDS: Mapping[str, Callable[[bytes], object]] = {"item": decode_item, "rule": decode_rule}
CLASSES_ALONE = {"finite number", "unicode", "must be after published", "there must be one per item"}
"""Refusals that JSON Schema cannot express: JSON has no infinite numbers and no halves of characters."""
NOT_HERE: list[Mapping[str, object]] = [{"user": "x\n"}, {"value": 10**400}, {"context": {"page": 10**400}}]
"""Python's `$` matches before a last newline, unlike that of JSON Schema; its integers have no end."""


def test_the_files_are_current() -> None:
    made = {path: path.read_text() for path in FOLDER.iterdir()}
    assert made == documents(), "run `make settings`"


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one(kind: Kind) -> None:
    Draft202012Validator.check_schema(event_schema(kind))


@given(interactions | items | users | impressions())
def test_what_is_written_fits_the_schema(event: Event) -> None:
    VALIDATORS[type(event)].validate(json.loads(encode(event)))


GOLDEN_RECORDS = [
    json.loads(line)
    for version in READABLE_VERSIONS
    for line in (GOLDEN / f"events-{version}.jsonl").read_text().splitlines()
]
WRITTEN = [fields for fields in GOLDEN_RECORDS if fields["v"] == VERSIONS[fields["kind"]]]


@pytest.mark.parametrize("fields", WRITTEN, ids=str)
def test_golden_records_fit_a_schema(fields: Mapping[str, Any]) -> None:
    by_fields = BY_FIELDS.get(fields["kind"])  # kinds of which only one fits a record
    kinds = [kind for kind in KINDS if kind.kind == fields["kind"]]
    fitting = [kind for kind in kinds if VALIDATORS[kind].is_valid(fields)]
    assert fitting == ([type(by_fields(orjson.dumps(fields)))] if by_fields else kinds)


@pytest.mark.parametrize(("kind", "change", "field", "reason"), INVALID)
def test_what_is_refused_does_not_fit(
    kind: Kind, change: Mapping[str, object], field: str, reason: str
) -> None:
    record = {"v": kind.version, "kind": kind.kind, **VALID[kind], **change}
    if reason not in CLASSES_ALONE and change not in NOT_HERE:
        assert not VALIDATORS[kind].is_valid(record), field


UNFIT: list[tuple[Kind, Mapping[str, object]]] = [
    (Interaction, {"context": {"two\nlines": 1}}),
    (Interaction, {"context": {"": 1}}),
    (Interaction, {"context": {"n" * 129: 1}}),
    (Item, {"vectors": {"two\nlines": []}}),
    (Interaction, {"time": "1969-12-31T23:00:00Z"}),
    (Item, {"published": "3000-06-01T00:00:00Z"}),
]


@pytest.mark.parametrize(("kind", "change"), UNFIT)
def test_keys_and_years_are_bounded(kind: Kind, change: Mapping[str, object]) -> None:
    record = {"v": kind.version, "kind": kind.kind, **VALID[kind], **change}
    assert not VALIDATORS[kind].is_valid(record)
    with pytest.raises(InvalidEvent):
        decode(kind, orjson.dumps(record))


def test_a_change_changes_something() -> None:
    alone = {"v": Item.version, "kind": "item", "item": "mug"}
    assert not VALIDATORS[ItemChange].is_valid(alone)
    assert VALIDATORS[ItemChange].is_valid({**alone, "category": None})


@pytest.mark.parametrize("document", openapi().values(), ids=openapi())
def test_an_openapi_document_refers_to_what_there_is(document: Mapping[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named <= set(schemas)
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_the_asyncapi_document_refers_to_what_there_is() -> None:
    document = asyncapi()
    payloads = [
        message["payload"]["schema"]["$ref"]
        for channel in document["channels"].values()
        for message in channel["messages"].values()
    ]
    assert {(FOLDER / payload).resolve() for payload in payloads} <= set(documents())
    assert len(payloads) == len(KINDS)
    names = {operation["channel"]["$ref"].rpartition("/")[2] for operation in document["operations"].values()}
    assert names == set(document["channels"])
    assert {Item.__name__, ItemChange.__name__} == set(document["channels"]["items"]["messages"])
