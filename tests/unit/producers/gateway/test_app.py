"""The gateway's contract: 202 only when durable, good events despite bad neighbours, one event sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from pipeline.events import InteractionType, Item, ItemChange, User
from pipeline.metrics import exposition
from producers.gateway.app import MAX_KEY_CHARACTERS
from producers.gateway.bodies import MEDIA_TYPES, NDJSON
from tests.support.gateway_harness import MUG, NOW, TOPICS, VIEW, GatewayHarness, lines

CLOUD = {"specversion": "1.0", "id": "7", "source": "/shop/till", "type": "sale"}
CLOUD_HEADERS = {f"ce_{name}": value for name, value in CLOUD.items()}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayHarness]:
    with GatewayHarness(tmp_path, max_body_bytes=20_000, max_batch_events=50) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayHarness]:
    with GatewayHarness(tmp_path_factory.mktemp("gateway")) as made:
        yield made


def test_an_acknowledged_interaction_is_in_the_log(gateway: GatewayHarness) -> None:
    answer = gateway.post("/v1/events", {"v": 1, "kind": "interaction", "event_id": "e", **VIEW})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "refused": []})
    (event,) = gateway.interactions()
    assert (event.event_id, event.user, event.type, event.time) == ("e", "ann", InteractionType.VIEW, NOW)


def test_items_changes_and_removals_reach_the_catalogue(gateway: GatewayHarness) -> None:
    change = {"v": 2, "kind": "item", "item": "mug", "available": False}
    assert gateway.post("/v1/events", [{"kind": "item", **MUG}, change]).json()["accepted"] == 2
    assert gateway.send("DELETE", "/v1/items/a/b%20c").status_code == 202
    by_key = {record.key: record for record in gateway.records(TOPICS.items)}
    assert set(by_key) == {"mug", "a/b c"}
    of_mug = [found for found in gateway.catalogue() if not isinstance(found, str)]
    assert [type(found) for found in of_mug] == [Item, ItemChange]
    assert by_key["a/b c"].value is None


def test_users_and_removals_reach_the_log(gateway: GatewayHarness) -> None:
    ann, bob = {"user": "ann", "attributes": {"tier": "gold", "likes": ["tea"]}}, {"user": "b/b"}
    assert gateway.post("/v1/users", lines(ann, bob, {"user": 5}), NDJSON).json()["accepted"] == 2
    assert gateway.post("/v1/events", {"kind": "user", **ann}).status_code == 202
    assert gateway.send("DELETE", "/v1/users/b/b").status_code == 202
    found = gateway.users()
    assert found.count(User(user="ann", attributes={"tier": "gold", "likes": ("tea",)})) == 2
    assert set(map(type, found)) == {User, str} and "b/b" in found
    late = gateway.post("/v1/users", {**ann, "time": NOW // 1_000})
    assert late.json()["refused"][0]["code"] == "time_unit"


def test_the_path_may_name_kind_and_version(gateway: GatewayHarness) -> None:
    assert gateway.post("/v1/interactions", VIEW).status_code == 202
    assert gateway.post("/v1/items", MUG).status_code == 202
    for path, event in (("/v1/events", VIEW), ("/v1/interactions", {"kind": "item", **MUG})):
        (refused,) = gateway.post(path, event).json()["refused"]
        assert (refused["field"], refused["code"]) == ("kind", "schema")
    assert (len(gateway.interactions()), len(gateway.catalogue())) == (1, 1)


def test_impressions_are_the_servers(gateway: GatewayHarness) -> None:
    answer = gateway.post("/v1/events", {"kind": "impression"})
    assert answer.status_code == 422
    assert "must be 'interaction' or 'item' or 'user'" in answer.json()["refused"][0]["reason"]


def test_good_lines_are_stored_and_bad_ones_named(gateway: GatewayHarness) -> None:
    body = lines(VIEW, b"{secret", b"", {**VIEW, "user": 5}, b"[]", {**VIEW, "user": "bob"}) + b"\r\n"
    answer = gateway.post("/v1/interactions", body, NDJSON)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    found = [(one["line"], one["field"], one["code"]) for one in answer.json()["refused"]]
    assert found == [(2, "event", "not_json"), (4, "user", "numeric_id"), (5, "event", "not_json")]
    assert "send it as a string" in answer.json()["refused"][1]["reason"]
    assert "secret" not in answer.text
    assert {event.user for event in gateway.interactions()} == {"ann", "bob"}


def test_what_consumers_would_refuse_is_refused(gateway: GatewayHarness) -> None:
    events = [{**VIEW, "time": NOW + 600_000}, {**VIEW, "time": NOW // 1_000}, {**VIEW, "time": "yesterday"}]
    answer = gateway.post("/v1/interactions", events)
    assert [one["code"] for one in answer.json()["refused"]] == ["time_ahead", "time_unit", "time_unit"]
    assert answer.status_code == 422
    for field in ("time", "published", "expires"):
        item = gateway.post("/v1/items", {**MUG, "v": 2, field: NOW // 1_000})
        (refused,) = item.json()["refused"]
        assert (refused["field"], refused["code"]) == (field, "time_unit")


@pytest.mark.parametrize(
    ("time", "remedy"),
    [
        (NOW / 1_000 + 0.25, "is in seconds, not milliseconds: multiply it by 1,000"),
        (NOW + 0.25, "has a fraction: send a whole number of milliseconds"),
        (None, "null is no value, leave out what is not known"),
    ],
)
def test_a_time_of_another_form_is_refused_with_the_remedy(
    gateway: GatewayHarness, time: float | None, remedy: str
) -> None:
    for path, sent in (("/v1/interactions", VIEW), ("/v1/items", MUG)):
        (refused,) = gateway.post(path, {**sent, "time": time}).json()["refused"]
        assert refused["field"] == "time" and refused["reason"].endswith(remedy)


@pytest.mark.parametrize(("field", "sent"), [("attributes", MUG), ("description", MUG), ("user", VIEW)])
def test_null_is_refused_with_the_remedy(
    gateway: GatewayHarness, field: str, sent: dict[str, object]
) -> None:
    path = "/v1/items" if sent is MUG else "/v1/interactions"
    (refused,) = gateway.post(path, {**sent, "v": 2, field: None}).json()["refused"]
    assert (refused["field"], refused["code"]) == (field, "wrong_type")
    assert refused["reason"].endswith("null is no value, leave out what is not known")


def test_a_retry_gets_the_same_ids(gateway: GatewayHarness) -> None:
    body = lines(VIEW, VIEW, {**VIEW, "event_id": "own"})
    for _ in range(2):
        assert gateway.post("/v1/interactions", body, NDJSON, Idempotency_Key="order-7").status_code == 202
    ids = [event.event_id for event in gateway.interactions()]
    assert len(ids) == 6
    assert ids[:3] == ids[3:], "the same lines of the same request"
    assert len(set(ids)) == 3, "equal lines are two events, and an id of its own stays"
    assert "own" in ids


def test_without_a_key_the_same_content_is_one_event(gateway: GatewayHarness) -> None:
    written_otherwise = dict(reversed([*VIEW.items(), ("v", 2), ("value", None), ("time", float(NOW))]))
    for event in (VIEW, written_otherwise, {**VIEW, "value": 2}):
        assert gateway.post("/v1/interactions", event).status_code == 202
    assert len({event.event_id for event in gateway.interactions()}) == 2


@pytest.mark.parametrize("data", [VIEW, {"kind": "interaction", **VIEW}])
def test_cloud_events_are_the_same_in_both_modes(gateway: GatewayHarness, data: dict[str, object]) -> None:
    structured = gateway.post("/v1/interactions", {**CLOUD, "data": data}, "application/cloudevents+json")
    batch = gateway.post(
        "/v1/interactions", [{**CLOUD, "data": data}], "application/cloudevents-batch+json; charset=utf-8"
    )
    binary = gateway.post("/v1/interactions", data, **CLOUD_HEADERS)
    other = gateway.post("/v1/interactions", data, **{**CLOUD_HEADERS, "ce_source": "/other"})
    assert {answer.status_code for answer in (structured, batch, binary, other)} == {202}
    ids = [event.event_id for event in gateway.interactions()]
    assert (len(ids), len(set(ids))) == (4, 2), "an id belongs to its source"


def test_a_cloud_event_gives_what_its_data_lack(gateway: GatewayHarness) -> None:
    without_time = {name: value for name, value in VIEW.items() if name != "time"}
    timed = {**CLOUD, "time": "2026-01-01T00:00:00Z"}
    for data in (without_time, {**VIEW, "event_id": "own"}):
        gateway.post("/v1/interactions", {**timed, "data": data}, "application/cloudevents+json")
    item = gateway.post("/v1/items", {**timed, "data": MUG}, "application/cloudevents+json")
    assert item.status_code == 202
    times = {event.event_id: event.time for event in gateway.interactions()}
    assert times.pop("own") == NOW
    assert [*times.values()] == [1_767_225_600_000]


@pytest.mark.parametrize(
    ("envelope", "field"),
    [
        ({"time": 1_790_000_000_000}, "time"),
        ({"time": "2024-01-01T12:99:00Z"}, "time"),
        ({"specversion": "0.3"}, "specversion"),
        ({"id": ""}, "id"),
        ({"source": 5}, "source"),
        ({"data": None}, "event"),
        ({"data": [VIEW]}, "event"),
    ],
)
def test_an_incomplete_cloud_event_is_refused(
    gateway: GatewayHarness, envelope: dict[str, object], field: str
) -> None:
    event = {**CLOUD, "data": VIEW, **envelope}
    answer = gateway.post("/v1/interactions", event, "application/cloudevents+json")
    assert (answer.status_code, answer.json()["refused"][0]["field"]) == (422, field)


def test_an_incomplete_envelope_in_headers_is_refused(gateway: GatewayHarness) -> None:
    answer = gateway.post("/v1/interactions", VIEW, ce_specversion="1.0", ce_id="7", ce_type="sale")
    assert answer.json()["refused"][0]["field"] == "ce-source"
    missing = gateway.post("/v1/interactions", CLOUD, "application/cloudevents+json")
    assert missing.json()["refused"][0]["field"] == "data"
    assert gateway.post("/v1/interactions", [VIEW], **CLOUD_HEADERS).status_code == 422


@pytest.mark.parametrize("kind", ["", "text/plain", "application/xml", "json"])
def test_other_media_types_are_refused_with_those_there_are(gateway: GatewayHarness, kind: str) -> None:
    answer = gateway.post("/v1/events", VIEW, kind)
    assert answer.status_code == 415
    assert all(known in answer.json()["detail"] for known in MEDIA_TYPES)


def test_no_cache_keeps_an_answer(gateway: GatewayHarness) -> None:
    for path in ("/readyz", "/v1/rules", "/v1/rules/nobody"):
        assert gateway.send("GET", path).headers.get_list("cache-control") == ["no-store"]


def test_a_compressed_body_is_refused(gateway: GatewayHarness) -> None:
    assert gateway.post("/v1/events", VIEW, Content_Encoding="gzip").status_code == 415
    for plain in ("identity", "Identity", ""):
        assert gateway.post("/v1/interactions", VIEW, Content_Encoding=plain).status_code == 202


@pytest.mark.parametrize("kind", ["application/json", NDJSON])
def test_a_byte_order_mark_before_json_is_passed_over(gateway: GatewayHarness, kind: str) -> None:
    body = b"\xef\xbb\xbf" + lines(VIEW)
    assert gateway.post("/v1/interactions", body, kind).json() == {"accepted": 1, "refused": []}
    assert [event.user for event in gateway.interactions()] == ["ann"]


@pytest.mark.parametrize(
    ("kind", "body"), [(kind, b" \n") for kind in MEDIA_TYPES] + [(MEDIA_TYPES[0], b"[]")]
)
def test_a_body_without_events_is_refused(gateway: GatewayHarness, kind: str, body: bytes) -> None:
    answer = gateway.post("/v1/events", body, kind)
    assert (answer.status_code, answer.json()["detail"]) == (400, "the body holds no event")


def test_a_body_is_bounded_whether_its_length_is_declared_or_not(gateway: GatewayHarness) -> None:
    assert gateway.post("/v1/events", b" " * 20_001).status_code == 413
    assert gateway.post("/v1/events", b"", Content_Length="9" * 5_000).status_code == 413
    headers = {"Content-Type": "application/json"}
    chunked = gateway.client.post("/v1/events", content=iter([b"[", b" " * 19_999, b"]"]), headers=headers)
    assert (chunked.status_code, chunked.headers["connection"]) == (413, "close")
    assert gateway.post("/v1/events", b"[]" + b" " * 19_998).status_code == 400


def test_the_number_of_events_is_bounded(gateway: GatewayHarness) -> None:
    assert gateway.post("/v1/interactions", lines(*[VIEW] * 50), NDJSON).status_code == 202
    assert gateway.post("/v1/interactions", lines(*[VIEW] * 51), NDJSON).status_code == 413
    assert gateway.post("/v1/interactions", [VIEW] * 51).status_code == 413
    assert len(gateway.interactions()) == 50


def test_a_key_that_is_too_long_is_refused(gateway: GatewayHarness) -> None:
    for key, status in (("k" * MAX_KEY_CHARACTERS, 202), ("k" * (MAX_KEY_CHARACTERS + 1), 400), ("", 400)):
        assert gateway.post("/v1/interactions", VIEW, Idempotency_Key=key).status_code == status


@pytest.mark.parametrize("item", ["%01", "i" * 129, "mug%0A", "a%0Ab"])
def test_an_invalid_item_is_not_removed(gateway: GatewayHarness, item: str) -> None:
    answer = gateway.send("DELETE", f"/v1/items/{item}")
    assert (answer.status_code, answer.json()["title"]) == (422, "Unprocessable Content")
    assert "iii" not in answer.text
    assert gateway.records(TOPICS.items) == []


def test_keys(tmp_path: Path) -> None:
    with GatewayHarness(tmp_path, api_keys=(SecretStr("first" * 4),)) as gateway:
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert gateway.client.head(path).status_code == 200
            assert gateway.client.get(path).status_code == 200
        assert gateway.client.get("/metrics").status_code == 401
        for key, status in (("", 401), ("wrong", 401), ("first" * 4, 202)):
            assert gateway.post("/v1/items", MUG, X_API_Key=key).status_code == status
            assert gateway.send("DELETE", "/v1/items/a", headers={"X-API-Key": key}).status_code == status
        assert gateway.client.post("/v1/items", content=b"who am I").status_code == 401
        assert len(gateway.records(TOPICS.items)) == 2


def test_keys_have_scopes_and_rates(tmp_path: Path) -> None:
    keys = {
        "shop": {"secret": "shop" * 4, "scopes": ["ingest"], "requests_per_second": 0.001, "burst": 2},
        "prometheus": {"secret": "reader" * 4, "scopes": ["read"]},
    }
    with GatewayHarness(tmp_path, named_keys=keys) as gateway:
        assert gateway.post("/v1/items", MUG).status_code == 401
        refused = gateway.post("/v1/items", MUG, X_API_Key="reader" * 4)
        assert refused.status_code == 403
        assert refused.json()["detail"] == "this key allows read, and the route needs ingest"
        assert gateway.client.get("/metrics", headers={"X-API-Key": "shop" * 4}).status_code == 403
        assert gateway.client.get("/metrics", headers={"X-API-Key": "reader" * 4}).status_code == 200
        answers = [gateway.post("/v1/items", MUG, X_API_Key="shop" * 4) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert int(answers[-1].headers["Retry-After"]) > 900
        assert len(gateway.records(TOPICS.items)) == 2


def test_an_unknown_query_parameter_is_refused(gateway: GatewayHarness) -> None:
    answer = gateway.send("POST", "/v1/items?dry_run=true", json=MUG)
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert "query.dry_run: " in answer.json()["detail"]
    assert gateway.send("DELETE", "/v1/items/mug?force=1").status_code == 422
    assert gateway.records(TOPICS.items) == []


def test_readiness_notices_a_log_that_is_gone(gateway: GatewayHarness, tmp_path: Path) -> None:
    for file in tmp_path.glob("log.db*"):
        file.rename(file.with_name(f"away-{file.name}"))
    answer = gateway.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False})


def test_metrics_count_what_was_accepted_and_refused(
    gateway: GatewayHarness, caplog: pytest.LogCaptureFixture
) -> None:
    def count(series: str) -> float:
        found = [line for line in exposition()[0].decode().splitlines() if line.startswith(series)]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    accepted = 'millstream_accepted_records_total{kind="interaction"}'
    refused = 'millstream_refused_lines_total{reason="missing_field"}'
    before = count(accepted), count(refused)
    for _ in range(2):
        gateway.post("/v1/interactions", [VIEW, VIEW, {"user": "very secret"}])
    assert (count(accepted) - before[0], count(refused) - before[1]) == (4, 2)
    written = [record.getMessage() for record in caplog.records if "first refusal" in record.getMessage()]
    assert len(written) == 1 and "/v1/interactions line 3, field 'item'" in written[0]
    assert "secret" not in caplog.text


def test_another_method_or_route_is_refused(gateway: GatewayHarness) -> None:
    assert gateway.send("GET", "/v1/events").json()["status"] == 405
    assert gateway.send("POST", "/v1/event").json()["detail"].startswith("there is no such route")


def test_openapi_describes_every_body_that_is_taken(gateway: GatewayHarness) -> None:
    document = gateway.client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        *("/v1/events", "/v1/interactions", "/v1/items", "/v1/items/{item}"),
        *("/v1/users", "/v1/users/{user}", "/v1/rules", "/v1/rules/{name}"),
        *("/healthz", "/readyz", "/metrics"),
    }
    for path, good, bad in (
        ("/v1/interactions", VIEW, {**VIEW, "type": "theft"}),
        ("/v1/items", MUG, {"item": "mug", "colour": "red"}),
        ("/v1/users", {"user": "ann"}, {"user": "ann", "item": "mug"}),
        ("/v1/events", {"kind": "item", **MUG}, MUG),
    ):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {*MEDIA_TYPES, *(["text/csv"] if path == "/v1/items" else [])}
        cloud = content["application/cloudevents+json"]["schema"]
        for schema, wrap in ((content["application/json"]["schema"], dict), (cloud, in_cloud_event)):
            check = Draft202012Validator({**schema, "components": document["components"]})
            assert check.is_valid(wrap(good)) and not check.is_valid(wrap(bad))
        assert gateway.post(path, good).status_code == 202
        assert gateway.post(path, bad).status_code == 422


def in_cloud_event(data: dict[str, Any]) -> dict[str, Any]:
    return {**CLOUD, "data": data}


@given(
    body=st.binary(max_size=300) | st.recursive(st.none() | st.text(), st.lists).map(orjson.dumps),
    kind=st.sampled_from(MEDIA_TYPES),
    path=st.sampled_from(["/v1/events", "/v1/interactions", "/v1/items"]),
    headers=st.sampled_from([{}, CLOUD_HEADERS, {"ce_specversion": "%ff"}]),
)
def test_no_body_breaks_it(
    shared: GatewayHarness, body: bytes, kind: str, path: str, headers: dict[str, str]
) -> None:
    assert shared.post(path, body, kind, **headers).status_code < 500


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900, b"1" * 5_000, b'"\\ud800"']
)
@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_no_unusual_json_breaks_it(shared: GatewayHarness, body: bytes, kind: str) -> None:
    assert shared.post("/v1/interactions", body, kind).status_code == 422
    context = b'{"user":"a","item":"b","type":"view","time":1,"context":{"x":%b}}' % body
    assert shared.post("/v1/interactions", context, kind).status_code == 422


GOOD = st.fixed_dictionaries({"user": st.sampled_from("abc"), "value": st.integers(0, 9)})
BAD = st.sampled_from([b"{", b"5", b"null", b'{"user":"a"}', b'{"v":3}', b"\xff", b'{"kind":"item"}'])


@given(st.lists(st.tuples(st.booleans(), GOOD, BAD), min_size=1, max_size=30))
def test_any_mix_of_lines_is_divided_exactly(
    shared: GatewayHarness, mixed: list[tuple[bool, dict[str, object], bytes]]
) -> None:
    before = len(shared.records(TOPICS.interactions))
    sent = [{**VIEW, **good} if is_good else bad for is_good, good, bad in mixed]
    answer = shared.post("/v1/interactions", lines(*sent), NDJSON)
    good = [event for event in sent if isinstance(event, dict)]
    bad = [number for number, event in enumerate(sent, 1) if isinstance(event, bytes)]
    assert answer.status_code == (202 if good else 422)
    assert answer.json()["accepted"] == len(good)
    assert [one["line"] for one in answer.json()["refused"]] == bad
    assert len(shared.records(TOPICS.interactions)) == before + len(good)


@pytest.mark.parametrize(
    ("path", "topic"), [("/v1/items/", TOPICS.items), ("/v1/interactions/", TOPICS.interactions)]
)
def test_a_slash_behind_a_route_loses_no_body(gateway: GatewayHarness, path: str, topic: str) -> None:
    answer = gateway.client.post(path, json=MUG if topic == TOPICS.items else VIEW, follow_redirects=False)
    assert (answer.status_code, len(gateway.records(topic))) == (202, 1)


def test_a_slash_without_an_id_removes_nothing(gateway: GatewayHarness) -> None:
    assert gateway.client.delete("/v1/items/").status_code == 405
    assert gateway.client.get("/v1/rules/").json() == {"rules": []}
    assert not gateway.records(TOPICS.items)
