"""Avro, Protobuf and JSON as the serializers of a Schema Registry write them; schemas from it or a folder."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.mapping import Mapping as DataMapping
from pipeline.errors import InvalidEvent, LogUnavailable
from pipeline.events import Interaction, decode
from producers.bridge.record_mapper import RecordMapper
from producers.bridge.schema_registry import Schema, SchemaKind, open_registry
from producers.bridge.values import framed_values
from tests.support.bridge_harness import ACTS, CLICK, NOW, TOPICS, record

LOGIN = "reader:secret"
ACTOR = {
    "type": "record",
    "name": "Actor",
    "namespace": "shop",
    "fields": [{"name": "id", "type": "long"}, {"name": "kind", "type": ["null", "string"], "default": None}],
}
TARGET = {"type": "record", "name": "Target", "fields": [{"name": "sku", "type": "string"}]}
CLICK_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Click",
    "namespace": "shop",
    "fields": [
        {"name": "actor", "type": "shop.Actor"},
        {
            "name": "target",
            "type": {"type": "record", "name": "Target", "fields": [{"name": "sku", "type": "string"}]},
        },
        {"name": "verb", "type": {"type": "enum", "name": "Verb", "symbols": ["bought", "looked"]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "cents", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 1}},
        {"name": "raw", "type": "bytes"},
    ],
}
CLICK_VALUE = {
    "actor": {"id": 17850, "kind": None},
    "target": {"sku": "mug"},
    "verb": "bought",
    "at": datetime.fromtimestamp(NOW / 1000, UTC),
    "cents": Decimal("250.0"),
    "raw": b"\xff",
}


def extra(name: str) -> Any:
    """An extra: without it the test is skipped aloud, except under CI."""
    try:
        return import_module(name)
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{name} is not installed: pip install 'millstream[schema-registry]'")


def framed(number: int, payload: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + payload


def avro(value: object) -> bytes:
    fastavro, out = extra("fastavro"), io.BytesIO()
    named: dict[str, Any] = {}
    fastavro.parse_schema(ACTOR, named)
    fastavro.schemaless_writer(out, fastavro.parse_schema(CLICK_SCHEMA, named), value)
    return out.getvalue()


def protobuf_files() -> tuple[Any, Any]:
    """Descriptors of shop/actor.proto and of click.proto, which imports it; the act is nested in Click."""
    descriptors = extra("google.protobuf.descriptor_pb2")
    field = descriptors.FieldDescriptorProto
    actor = descriptors.FileDescriptorProto(name="shop/actor.proto", package="shop", syntax="proto3")
    actor.message_type.add(name="Actor").field.add(name="id", number=1, type=field.TYPE_INT64, label=1)
    click = descriptors.FileDescriptorProto(
        name="click.proto",
        package="shop",
        syntax="proto3",
        dependency=["shop/actor.proto", "google/protobuf/timestamp.proto"],
    )
    click.message_type.add(name="Other")
    outer = click.message_type.add(name="Envelope")
    target = outer.nested_type.add(name="Target")
    target.field.add(name="sku", number=1, type=field.TYPE_STRING, label=1)
    act, message = outer.nested_type.add(name="Click"), field.TYPE_MESSAGE
    for number, (name, kind, type_name) in enumerate(
        (
            ("actor", message, ".shop.Actor"),
            ("target", message, ".shop.Envelope.Target"),
            ("verb", field.TYPE_STRING, None),
            ("at", message, ".google.protobuf.Timestamp"),
            ("cents", field.TYPE_INT32, None),
        ),
        start=1,
    ):
        act.field.add(name=name, number=number, type=kind, type_name=type_name, label=1)
    return actor, click


PROTOBUF_ACT = (
    b"\x04\x02\x02"  # two indices, zigzag: the second message of the file, the second nested in it
    b"\x0a\x04\x08\xba\x8b\x01"  # actor.id = 17850
    b"\x12\x05\x0a\x03mug"  # target.sku
    b"\x1a\x06bought"
    b"\x22\x06\x08\x80\xf7\xc4\xd5\x06"  # at, in seconds
    b"\x28\xfa\x01"  # cents = 250
)
ISO = {**ACTS, "time": {}}


@pytest.fixture
def answers() -> dict[str, object]:
    """What the registry answers, by path."""
    return {
        "/schemas/ids/1": {
            "schema": json.dumps(CLICK_SCHEMA),
            "references": [{"name": "shop.Actor", "subject": "shop/actor", "version": 3}],
        },
        "/subjects/shop%2Factor/versions/3": {"schema": json.dumps(ACTOR), "id": 9},
        "/schemas/ids/3": {"schemaType": "JSON", "schema": "{}"},
        "/schemas/ids/4": {"schema": '{"type": "nothing"}'},
        "/schemas/ids/5": {"schemaType": "THRIFT", "schema": ""},
    }


@pytest.fixture
def registry_url(answers: dict[str, object]) -> Iterator[str]:
    """A registry with Confluent's API, as far as it is read."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            expected = f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
            status = (
                401 if self.headers["Authorization"] != expected else 200 if self.path in answers else 404
            )
            body = orjson.dumps(answers.get(self.path))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def act_of(place: str, value: bytes, mapping: Mapping[str, Any] = ACTS) -> Interaction:
    read = framed_values(open_registry(place, LOGIN))
    mapper = RecordMapper(DataMapping.model_validate(mapping), "json", TOPICS, read)
    decision = mapper.decide(record(value), "bridge-1", NOW)
    assert decision.refusal is None, decision.refusal
    return decode(Interaction, decision.records[0].value or b"")


def check(act: Interaction) -> None:
    assert (act.user, act.item, str(act.type), act.time, act.value) == ("17850", "mug", "purchase", NOW, 2.5)


def test_avro_with_a_reference(registry_url: str) -> None:
    check(act_of(registry_url, framed(1, avro(CLICK_VALUE))))


def test_protobuf_with_references(registry_url: str, answers: dict[str, object]) -> None:
    actor, click = protobuf_files()

    def both(path: str, file: Any, more: dict[str, object]) -> None:
        answers[path] = {"schemaType": "PROTOBUF", "schema": "source text", **more}
        serialized = base64.b64encode(file.SerializeToString()).decode()
        answers[f"{path}?format=serialized"] = {"schemaType": "PROTOBUF", "schema": serialized}

    references = [{"name": "shop/actor.proto", "subject": "actor", "version": 1}]
    both("/schemas/ids/2", click, {"references": references})
    both("/subjects/actor/versions/1", actor, {})
    check(act_of(registry_url, framed(2, PROTOBUF_ACT), ISO))


def test_json_that_is_framed_and_json_that_is_not(registry_url: str) -> None:
    check(act_of(registry_url, framed(3, orjson.dumps(CLICK))))
    check(act_of(registry_url, orjson.dumps(CLICK)))


def test_a_folder_of_schemas(tmp_path: Path) -> None:
    actor, click = protobuf_files()
    files = extra("google.protobuf.descriptor_pb2").FileDescriptorSet(file=[actor, click])
    (tmp_path / "2.desc").write_bytes(files.SerializeToString())
    whole = {**CLICK_SCHEMA, "fields": [{"name": "actor", "type": ACTOR}, *CLICK_SCHEMA["fields"][1:]]}
    (tmp_path / "1.avsc").write_text(json.dumps(whole))
    (tmp_path / "3.json").write_text("{}")
    check(act_of(str(tmp_path), framed(1, avro(CLICK_VALUE))))
    check(act_of(str(tmp_path), framed(2, PROTOBUF_ACT), ISO))
    check(act_of(str(tmp_path), framed(3, orjson.dumps(CLICK))))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\0\0\0", "ends within the id of its schema"),
        (framed(7, b"x"), "the registry has no schema 7"),
        (framed(3, b"x"), "not JSON"),
        (framed(4, b"x"), "the schema 4 cannot be used"),
        (framed(1, b"\x01"), "is no Avro of the schema 1"),
        (framed(5, b"x"), "the schema 5 is of the kind THRIFT"),
    ],
)
def test_what_cannot_be_decoded_is_refused(registry_url: str, value: bytes, reason: str) -> None:
    extra("fastavro")
    with pytest.raises(InvalidEvent, match=reason):
        framed_values(open_registry(registry_url, LOGIN))(value)


@pytest.mark.parametrize("place", ["http://127.0.0.1:1", "wrong login"])
def test_a_registry_that_does_not_answer_is_waited_for(registry_url: str, place: str) -> None:
    registry = open_registry(registry_url if place == "wrong login" else place, "")
    with pytest.raises(LogUnavailable, match="schema registry http://127"):
        registry.schema(1)


def test_without_a_registry_the_remedy_is_named() -> None:
    mapper = RecordMapper(DataMapping.model_validate(ACTS), "json", TOPICS)
    refusal = mapper.decide(record(framed(1, b"x")), "bridge-1", NOW).refusal
    assert refusal is not None and "say where it is, as `registry` in [bridge]" in refusal.reason


@pytest.mark.parametrize(
    "inner", [["null", "N"], {"type": "array", "items": "N"}, {"type": "map", "values": ["null", "N"]}]
)
def test_a_schema_that_contains_itself_is_refused(inner: object) -> None:
    """fastavro ends the process, with a fault of memory, at a value that nests some thousand times."""
    extra("fastavro")
    schema = {"type": "record", "name": "N", "fields": [{"name": "next", "type": inner}]}
    read = framed_values(One(Schema(1, SchemaKind.AVRO, json.dumps(schema).encode())))
    with pytest.raises(InvalidEvent, match="the schema 1 contains itself"):
        read(framed(1, b"\x02" * 100_000))


class One:
    """A registry of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def schema(self, number: int) -> Schema:
        return self._schema


@given(st.sampled_from(SchemaKind), st.binary(max_size=40))
def test_any_bytes_are_an_object_or_refused(kind: SchemaKind, payload: bytes) -> None:
    extra("fastavro")
    content = {
        SchemaKind.AVRO: json.dumps(CLICK_SCHEMA).encode(),
        SchemaKind.PROTOBUF: protobuf_files()[1].SerializeToString(),
        SchemaKind.JSON: b"{}",
    }[kind]
    references = {
        SchemaKind.AVRO: (("shop.Actor", json.dumps(ACTOR).encode()),),
        SchemaKind.PROTOBUF: (("shop/actor.proto", protobuf_files()[0].SerializeToString()),),
    }
    read = framed_values(One(Schema(1, kind, content, references.get(kind, ()))))
    mapper = RecordMapper(DataMapping.model_validate(ACTS), "json", TOPICS, read)
    decision = mapper.decide(record(framed(1, payload)), "bridge-1", NOW)
    assert bool(decision.records) != (decision.refusal is not None)
