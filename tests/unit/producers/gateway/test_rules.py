"""Rules over HTTP: put, listed, shown and removed, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.rules.rule import MAX_RULES, decode_rule
from pipeline.rules.store import RuleStore
from tests.support.gateway_harness import TOPICS, Answer, GatewayHarness
from tests.support.rules import rule

PIN = {"action": "pin", "item": "mug", "place": 1}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayHarness]:
    with GatewayHarness(tmp_path) as made:
        yield made


def put(gateway: GatewayHarness, name: str, body: Any) -> Answer:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return gateway.send("PUT", f"/v1/rules/{name}", content=content)


def test_a_rule_comes_and_goes(gateway: GatewayHarness) -> None:
    assert put(gateway, "first", PIN).status_code == 204
    assert put(gateway, "first", {**PIN, "name": "first", "place": 2}).status_code == 204
    assert put(gateway, "brands", {"action": "cap", "most": 3, "attribute": "brand"}).status_code == 204
    listed = gateway.send("GET", "/v1/rules").json()["rules"]
    assert listed == [
        {"name": "brands", "action": "cap", "most": 3, "attribute": "brand"},
        {"name": "first", "action": "pin", "item": "mug", "place": 2},
    ]
    assert gateway.send("GET", "/v1/rules/first").json() == listed[1]
    assert gateway.send("DELETE", "/v1/rules/first").status_code == 204
    assert gateway.send("GET", "/v1/rules/first").status_code == 404
    *_, brands, gone = gateway.records(TOPICS.rules)
    assert decode_rule(brands.value or b"") == rule("brands", "cap", most=3, attribute="brand")
    assert (gone.key, gone.value) == ("first", None)


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("first", b"{", "not JSON"),
        ("first", [], "not a JSON object"),
        ("first", {**PIN, "place": 0}, "place: "),
        ("first", {**PIN, "name": "second"}, "must be the one of the path"),
        ("first", {**PIN, "nats": 1}, "nats: "),
        ("no%20spaces", PIN, "match pattern"),
    ],
)
def test_a_bad_rule_is_refused(gateway: GatewayHarness, name: str, body: Any, reason: str) -> None:
    answer = put(gateway, name, body)
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]
    assert not gateway.records(TOPICS.rules)


def test_a_rule_too_many_is_refused(gateway: GatewayHarness) -> None:
    RuleStore(gateway.log, TOPICS.rules).put(rule(f"r{n}", "cap", most=1) for n in range(MAX_RULES))
    assert put(gateway, "r0", PIN).status_code == 204
    answer = put(gateway, "another", PIN)
    assert answer.status_code == 409
    assert "more than 500" in answer.json()["detail"]


def test_rules_need_a_key(tmp_path: Path) -> None:
    with GatewayHarness(tmp_path, api_keys=["a key of sixteen characters"]) as gateway:
        for method, path in (("GET", "/v1/rules"), ("PUT", "/v1/rules/a"), ("DELETE", "/v1/rules/a")):
            assert gateway.send(method, path).status_code == 401
