"""The client's models, parameters and calls are those of the OpenAPI documents: they cannot drift apart."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints
from urllib.parse import unquote

import pytest
from pydantic import BaseModel, TypeAdapter

import millstream_client
from docs.schemas import FOLDER
from millstream_client import (
    AnonymousAct,
    AnswerQuery,
    AppliedRule,
    GatewayReadiness,
    Interaction,
    InteractionType,
    Item,
    ItemChange,
    ModelCard,
    PredictedRating,
    RankedAction,
    Ranking,
    Readiness,
    Receipt,
    Recommendations,
    RefusedLine,
    RefusedSnapshot,
    RewardedAct,
    ScoreCause,
    ScoreExplanation,
    SessionQuery,
    ShownItem,
    SnapshotCard,
    User,
    calls,
)
from millstream_client.events import RankingRequest, RewardRequest, Sent
from tests.support.documents import ROOT

DOCUMENTS: Mapping[str, dict[str, Any]] = {
    "server": json.loads((FOLDER / "serve.openapi.json").read_text()),
    "gateway": json.loads((FOLDER / "gateway.openapi.json").read_text()),
}
ANSWERS = {
    "server": [
        AppliedRule,
        ModelCard,
        PredictedRating,
        RankedAction,
        Ranking,
        Readiness,
        Recommendations,
        RefusedSnapshot,
        RewardedAct,
        ScoreCause,
        ScoreExplanation,
        ShownItem,
        SnapshotCard,
    ],
    "gateway": [GatewayReadiness, Receipt, RefusedLine],
}
SENT: Mapping[str, list[type[Sent]]] = {
    "server": [AnonymousAct, RankingRequest, RewardRequest],
    "gateway": [Interaction, Item, ItemChange, User],
}
ENVELOPE = {"v", "kind"}
NOT_CALLED = re.compile("/healthz|/metrics|/v1/events|/v1/rules.*")
"""For those who run millstream, and for events of mixed kinds, which the other routes take by kind."""
CALLS = [
    calls.recommend("{user}", {}),
    calls.recommend_for_history([], {}),
    calls.similar("{item}", {}),
    calls.rating("{user}", "{item}"),
    calls.rank("ann", ["mug"], None, 1),
    calls.reward("{event_id}", 1.0, None),
    calls.model(),
    calls.readiness(),
    calls.gateway_readiness(),
    calls.send(calls.INTERACTIONS, [], "key"),
    calls.send(calls.ITEMS, [], "key"),
    calls.remove_item("{item}"),
    calls.send(calls.USERS, [], "key"),
    calls.remove_user("{user}"),
]


def _pairs(models: Mapping[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(service, model, id=model.__name__) for service in models for model in models[service]
    ]


def shape(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> object:
    """What a field is, without names, bounds and descriptions; words of a fixed set are text."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return name if parts[name].get("type") == "object" else shape(parts[name], parts)
    if "anyOf" in schema or "oneOf" in schema:
        found = (shape(one, parts) for one in schema.get("anyOf", schema.get("oneOf")))
        return frozenset(part for one in found for part in (one if isinstance(one, frozenset) else {one}))
    match schema.get("type"):
        case "array":
            return ("array", shape(schema["items"], parts))
        case "object":
            return ("object", shape(schema["additionalProperties"], parts))
        case kind:
            return kind


def fields(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, object]:
    return {name: shape(field, parts) for name, field in schema["properties"].items() if name not in ENVELOPE}


def own_fields(model: type[BaseModel], mode: Any) -> dict[str, object]:
    schema = model.model_json_schema(mode=mode)
    return fields(schema, schema.get("$defs", {}))


@pytest.mark.parametrize(("service", "model"), _pairs(ANSWERS))
def test_an_answer_has_the_fields_of_the_document(service: str, model: type[BaseModel]) -> None:
    parts = DOCUMENTS[service]["components"]["schemas"]
    assert own_fields(model, "validation") == fields(parts[model.__name__], parts)
    assert set(model.model_json_schema().get("required", ())) == set(parts[model.__name__]["required"])


@pytest.mark.parametrize(("service", "model"), _pairs(SENT))
def test_what_is_sent_has_the_fields_of_the_document(service: str, model: type[Sent]) -> None:
    parts = DOCUMENTS[service]["components"]["schemas"]
    assert own_fields(model, "validation") == fields(parts[model.__name__], parts)
    required = {*model.model_json_schema().get("required", ()), *model.always}
    assert required == set(parts[model.__name__]["required"])


def test_every_answer_is_compared() -> None:
    declared = {
        part.rpartition("/")[2]
        for document in DOCUMENTS.values()
        for path, methods in document["paths"].items()
        if not NOT_CALLED.fullmatch(path)
        for part in _references(methods, "responses")
    }
    compared = {model.__name__ for models in ANSWERS.values() for model in models}
    assert declared - {"Problem"} <= compared


def _references(value: object, below: str) -> Iterator[str]:
    for one in _objects(value):
        yield from re.findall(r'"(#/components/schemas/\w+)"', json.dumps(one.get(below)))


def _objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)


def test_types_of_acts_are_those_of_the_document() -> None:
    for document in DOCUMENTS.values():
        assert list(get_args(InteractionType)) == document["components"]["schemas"]["InteractionType"]["enum"]


@pytest.mark.parametrize(
    ("path", "method", "query"),
    [
        ("/v1/users/{user}/recommendations", "get", SessionQuery),
        ("/v1/recommendations", "post", SessionQuery),
        ("/v1/items/{item}/similar", "get", AnswerQuery),
        ("/v1/model", "get", None),
    ],
)
def test_parameters_are_those_of_the_document(path: str, method: str, query: Any) -> None:
    document = DOCUMENTS["server"]
    parts = document["components"]["schemas"]
    parameters = [p for p in document["paths"][path][method].get("parameters", ()) if p["in"] == "query"]
    theirs = {parameter["name"]: shape(parameter["schema"], parts) for parameter in parameters}
    hints = get_type_hints(query) if query else {}
    mine = {name: shape(TypeAdapter(hint).json_schema(), {}) for name, hint in hints.items()}
    assert set(mine) == set(theirs)
    for name in set(mine) - {"exclude_seen", "context"}:  # true stands for all types; a mapping for pairs
        assert _alternatives(mine[name]) == _alternatives(theirs[name]), name


def _alternatives(kind: object) -> set[object]:
    return {*kind} - {"null"} if isinstance(kind, frozenset) else {kind}


def test_every_route_is_called() -> None:
    served = {
        (service, f"{method.upper()} {path}")
        for service, document in DOCUMENTS.items()
        for path, methods in document["paths"].items()
        for method in methods
        if not NOT_CALLED.fullmatch(path)
    }
    called = {(call.service, f"{call.method} {unquote(call.path)}") for call in CALLS}
    assert called == served


def test_the_client_needs_httpx_and_pydantic_alone() -> None:
    """A shop's web service must not install torch."""
    folder = ROOT / "clients" / "python" / "millstream_client"
    imported = {
        name.partition(".")[0]
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imported - sys.stdlib_module_names == {"httpx", "pydantic", "millstream_client"}
    assert (folder / "py.typed").exists()


def test_everything_public_is_named() -> None:
    assert sorted(millstream_client.__all__) == millstream_client.__all__
