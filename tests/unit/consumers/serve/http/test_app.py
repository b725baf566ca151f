"""The HTTP interface: answers, bounds, keys, problems, impressions and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from consumers.serve.http.app import create_app
from consumers.serve.http.middleware import MAX_BODY_BYTES
from consumers.serve.impressions import Fields
from consumers.serve.schemas import MAX_ACTS, MAX_EXCLUDED
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState, Degradation
from pipeline.config import ServeConfig
from pipeline.events import Impression, InteractionType, validate
from pipeline.metrics import HEALTHY
from tests.support.serve_harness import World

NOW = 2_000_000_000_000
FOR_ANN = "/v1/users/ann/recommendations"


class Submitted(list[Fields]):
    """The impressions submitted during a test."""


@contextmanager
def client_of(world: World, submitted: Submitted | None = None, **settings: Any) -> Iterator[TestClient]:
    with world.server() as current:
        world.shown(current)
        yield client_on(current, world.settings.serve.model_copy(update=settings), submitted)


def client_on(current: CurrentState, settings: ServeConfig, submitted: Submitted | None = None) -> TestClient:
    submit = None if submitted is None else submitted.append
    return TestClient(
        create_app(RecommendationService(current, context=5, submit=submit, clock=lambda: NOW), settings)
    )


@pytest.fixture(scope="module")
def client(open_shop: World) -> Iterator[TestClient]:
    with client_of(open_shop) as made:
        yield made


@pytest.mark.parametrize("path", [FOR_ANN, "/v1/model", "/healthz", "/readyz", "/openapi.json"])
def test_a_slash_behind_a_route_says_nothing(client: TestClient, path: str) -> None:
    answer = client.get(f"{path}/", follow_redirects=False)
    assert (answer.status_code, answer.json().keys()) == (200, client.get(path).json().keys())


def test_recommendations_say_what_they_are_based_on(open_shop: World, client: TestClient) -> None:
    manifest = open_shop.store.manifest(open_shop.store.versions()[-1])
    answer = client.get(FOR_ANN).json()
    assert answer["snapshot"] == manifest.version
    assert answer["learned_through"] == manifest.learned_through
    assert manifest.offsets.items() <= answer["offsets"].items()
    assert {place.partition("/")[0] for place in answer["offsets"]} == set(open_shop.topics.served)
    assert answer["staleness_seconds"] == 0
    assert (answer["source"], answer["reason"], answer["impression"]) == ("model", None, None)
    assert len(answer["items"]) == 5
    assert set(answer["items"][0]) == {"item", "title", "category", "score", "explanation", "rules"}
    first = answer["items"][0]
    assert first["title"] == first["item"].replace("-", " ")
    assert first["category"] == first["item"].split("-")[0]


def test_staleness_counts_from_the_append(world: World) -> None:
    world.open()
    world.act("ann", "red-cup")
    appended = max(record.append_time for record in world.records(world.topics.interactions))
    with client_of(world) as client:
        assert client.get(FOR_ANN).json()["staleness_seconds"] == (NOW - appended) / 1000


def test_query_parameters(client: TestClient) -> None:
    def items(**query: Any) -> list[str]:
        return [shown["item"] for shown in client.get(FOR_ANN, params=query).json()["items"]]

    def scores(**query: Any) -> dict[str, float]:
        return {shown["item"]: shown["score"] for shown in client.get(FOR_ANN, params=query).json()["items"]}

    everything = items(k=20)
    assert len(everything) == 12
    assert items(k=20, exclude=everything[:2]) == everything[2:]
    assert len(items(k=20, category="red")) == 4
    assert not any(item.startswith("red") for item in items(k=20, exclude_seen=True))
    assert not any(item.startswith("red") for item in items(k=20, exclude_seen="purchase"))
    assert items(k=20, exclude_seen=["view", "like"]) == items(k=20, exclude_seen=False) == everything
    assert items(k=20, exclude_seen="True") == items(k=20, exclude_seen=True)  # as Python writes it
    assert scores(session="new") != scores()
    assert client.get(FOR_ANN, params={"exclude_seen": "bought"}).status_code == 422


def test_defaults_are_settings(open_shop: World) -> None:
    def items(client: TestClient, **query: Any) -> list[str]:
        return [shown["item"] for shown in client.get(FOR_ANN, params={"k": 20, **query}).json()["items"]]

    with client_of(open_shop, exclude_seen=(InteractionType.PURCHASE,)) as client:
        assert not any(item.startswith("red") for item in items(client))
        assert len(items(client, exclude_seen=False)) == 12
    with client_of(open_shop, most_per_category=1, diversity=0.5) as client:
        assert len(items(client)) == 3
        assert len(items(client, most_per_category=3)) == 9


def test_a_request_without_parameters_is_one_with_the_defaults(open_shop: World) -> None:
    with client_of(open_shop, recommendations=3, diversity=0.5, exclude_seen=("purchase",)) as client:
        plain, named = client.get(FOR_ANN).json(), client.get(FOR_ANN, params={"k": 3}).json()
    assert plain["items"] == named["items"]
    assert len(plain["items"]) == 3


def test_several_workers_have_no_metrics_in_common(open_shop: World) -> None:
    with client_of(open_shop, workers=2) as client:
        assert client.get("/metrics").status_code == 404
        assert client.get("/healthz").status_code == 200


def test_an_answer_is_explained_if_asked(client: TestClient) -> None:
    (shown,) = client.get(FOR_ANN, params={"k": 1, "explain": True}).json()["items"]
    found = shown["explanation"]
    assert sum(found["parts"].values()) == pytest.approx(found["logit"], abs=1e-4)
    assert found["companion"].startswith("red")
    assert found["because"]["type"] == "purchase"
    assert found["because"]["score_without"] < shown["score"]
    assert found["because"]["place_without"] >= 1
    assert client.get(FOR_ANN).json()["items"][0]["explanation"] is None
    similar = client.get("/v1/items/red-cup/similar", params={"k": 1, "explain": True}).json()["items"][0]
    assert similar["explanation"]["parts"] == {"cosine": similar["score"]}


def test_unknown_users_and_unusual_ids(client: TestClient) -> None:
    for user in ("nobody", "a%2Fb", "a/b", "%C3%A9", "recommendations"):
        answer = client.get(f"/v1/users/{user}/recommendations")
        assert answer.status_code == 200
        assert (answer.json()["source"], answer.json()["reason"]) == ("popular", "unknown_user")


def test_an_id_with_a_line_break_is_no_other_id(client: TestClient) -> None:
    for path in ("/v1/users/ann%0A/recommendations", "/v1/items/red-cup%0A/similar"):
        assert client.get(path).status_code == 422


def test_an_anonymous_history_is_answered_as_the_users_own(open_shop: World) -> None:
    with client_of(open_shop) as client, open_shop.server() as current:
        acts = [
            {name: value for name, value in act._asdict().items() if value is not None}
            for act in current.for_user("ann")[1]
        ]
        anonymous = client.post("/v1/recommendations?k=12", json={"history": acts}).json()
        known = client.get(FOR_ANN, params={"k": 12}).json()
        assert anonymous["items"] == known["items"]
        short = client.post("/v1/recommendations", json={"history": [{"item": "red-cup"}, {"item": "??"}]})
        assert short.json()["source"] == "model"
        nothing = client.post("/v1/recommendations", json={"history": []}).json()
        assert nothing["reason"] == "unknown_user"


def test_a_rating_is_predicted(world: World) -> None:
    world.stock()
    world.act("ann", "red-cup", "red-lamp", kind=InteractionType.RATING, value=4.0)
    world.act("a/ratings/b", "c/d", kind=InteractionType.RATING, value=5.0)
    world.learn()
    version = world.publish().version
    with client_of(world) as client:
        found = client.get("/v1/users/ann/ratings/red-cup").json()
        assert (found["user"], found["item"], found["known"]) == ("ann", "red-cup", 2)
        assert 3 < found["rating"] < 5
        assert (found["snapshot"], found["staleness_seconds"]) == (version, 0)
        slashes = client.get("/v1/users/a%2Fb/ratings/c%2Fd").json()
        assert (slashes["user"], slashes["item"], slashes["known"]) == ("a/b", "c/d", 0)
        assert client.get("/v1/users/ann/ratings/never").status_code == 404
        assert client.get("/v1/users/ann/ratings/red-cup?k=3").status_code == 422


def test_without_a_learned_rating_none_is_predicted(client: TestClient) -> None:
    missing = client.get("/v1/users/ann/ratings/red-cup")
    assert (missing.status_code, missing.json()["detail"]) == (
        404,
        "no rating was learned yet: none can be predicted",
    )


def test_similar_items(client: TestClient) -> None:
    answer = client.get("/v1/items/red-cup/similar", params={"k": 3, "category": "blue"}).json()
    assert len(answer["items"]) == 3
    assert all(shown["category"] == "blue" for shown in answer["items"])
    missing = client.get("/v1/items/never/similar")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json()["title"] == "Not Found"


@pytest.mark.parametrize(
    "path",
    [
        f"{FOR_ANN}?k=0",
        f"{FOR_ANN}?k=21",
        f"{FOR_ANN}?k=many",
        f"{FOR_ANN}?exclude=",
        f"{FOR_ANN}?category={'c' * 257}",
        f"{FOR_ANN}?session=%00",
        f"{FOR_ANN}?{'&'.join(['exclude=a'] * (MAX_EXCLUDED + 1))}",
        f"/v1/users/{'u' * 129}/recommendations",
        "/v1/users/%01/recommendations",
        f"/v1/items/{'i' * 129}/similar",
        "/v1/items/red-cup/similar?k=21",
    ],
)
def test_bounds_of_queries(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "uuu" not in answer.text and "iii" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"history": "red-cup"},
        {"history": [{"item": ""}]},
        {"history": [{"item": "a", "type": "theft"}]},
        {"history": [{"item": "a", "time": -1}]},
        {"history": [{"item": "a", "value": "NaN"}]},
        {"history": [{"item": "a", "value": "5"}]},
        {"history": [{"item": "a", "value": True}]},
        {"history": [{"item": "a", "time": True}]},
        {"history": [{"item": "a", "colour": "red"}]},
        {"history": [{"item": "a"}] * (MAX_ACTS + 1)},
        {"history": [], "k": 5},
        {"history": [], "attributes": {"country": None}},
        {"history": [], "attributes": {str(number): 1 for number in range(65)}},
    ],
)
def test_bounds_of_bodies(client: TestClient, body: object) -> None:
    assert client.post("/v1/recommendations", json=body).status_code == 422


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("{", "body: is no JSON: Expecting property name enclosed in double quotes"),
        ("[]", "body: must be a valid dictionary"),
        ('{"histroy": []}', "body.history: is missing; body.histroy: is unknown (did you mean history?)"),
        (
            '{"history": [{"item": "a", "tpe": "view"}]}',
            "body.history.0.tpe: is unknown (did you mean type?)",
        ),
        (
            '{"history": [], "attributes": {"plan": null}}',
            "body.attributes.plan: must be a valid string or boolean or integer or number",
        ),
    ],
)
def test_a_wrong_body_is_refused_with_the_field_and_the_nearest_known(
    client: TestClient, content: str, detail: str
) -> None:
    answer = client.post("/v1/recommendations", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


def test_faults_of_parameters_and_body_are_named_together(client: TestClient) -> None:
    answer = client.post("/v1/recommendations?k=0", json={"history": "red-cup"})
    assert answer.json()["detail"] == (
        "query.k: must be greater than or equal to 1; body.history: must be a valid list"
    )


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "json"])
def test_a_body_that_is_not_declared_as_json_is_refused(client: TestClient, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = client.post("/v1/recommendations", content=b'{"history": []}', headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.shop+json"]
)
def test_json_may_be_declared_in_several_ways(client: TestClient, kind: str) -> None:
    headers = {"Content-Type": kind}
    assert client.post("/v1/recommendations", content=b'{"history": []}', headers=headers).status_code == 200


def test_a_body_in_another_encoding_is_refused(client: TestClient) -> None:
    answer = client.post(
        "/v1/recommendations",
        content=b'{"history": [{"item": "caf\xe9"}]}',
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "the body cannot be read: send JSON in UTF-8",
    )


@pytest.mark.parametrize("route", ["/v1/recommendations", "/v1/rank"])
def test_a_compressed_body_is_refused_as_such(client: TestClient, route: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = client.post(route, content=b"\x1f\x8b\x08", headers=headers)
    assert answer.status_code == 415
    assert "uncompressed" in answer.json()["detail"]


def test_another_method_or_route_is_refused_with_what_there_is(client: TestClient) -> None:
    method, route = client.get("/v1/recommendations"), client.get("/v1/recommendation")
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
    assert "see the header Allow" in method.json()["detail"]
    assert (route.status_code, route.json()["detail"]) == (404, "there is no such route: /docs lists them")


def test_size_of_bodies() -> None:
    client = client_on(CurrentState(), ServeConfig())
    large = client.post("/v1/recommendations", content=b" " * (MAX_BODY_BYTES + 1))
    endless = client.post("/v1/recommendations", content=iter([b"{}"]))
    assert (large.status_code, endless.status_code) == (413, 411)


@pytest.mark.parametrize(
    "path",
    ["/v1/users/user-0/recommendations", "/v1/items/red-cup/similar", "/v1/items/no/similar", "/readyz"],
)
def test_no_cache_keeps_an_answer(client: TestClient, path: str) -> None:
    assert client.get(path).headers.get_list("cache-control") == ["no-store"]


def test_before_the_log_is_read() -> None:
    client = client_on(CurrentState(), ServeConfig())
    assert client.get("/healthz").content == HEALTHY
    waiting = client.get("/readyz")
    assert (waiting.status_code, waiting.json()["ready"]) == (503, False)
    for path in (FOR_ANN, "/v1/items/a/similar", "/v1/model"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")


def test_before_the_first_snapshot(world: World) -> None:
    world.stock()
    world.act("ann", "red-cup")
    with client_of(world) as client:
        answer = client.get(FOR_ANN).json()
        assert (answer["snapshot"], answer["learned_through"]) == (None, None)
        assert (answer["source"], answer["reason"]) == ("popular", "no_snapshot")
        assert answer["items"][0]["item"] == "red-cup"
        assert client.get("/readyz").json() == {
            "ready": True,
            "snapshot": None,
            "refused": None,
            "degraded": None,
        }
        assert client.get("/v1/model").json()["card"] is None


def test_the_models_card(client: TestClient) -> None:
    card = client.get("/v1/model").json()
    assert card["card"]["version"] == card["snapshot"] == "1-1"
    assert card["card"]["events"] == 24
    assert (card["items"], card["users"], card["unlearned"], card["pending_texts"]) == (12, 3, 0, 0)


def test_a_refused_snapshot_is_reported(world: World) -> None:
    world.open()
    world.announce_damaged("byte")
    with world.server() as current:
        client = client_on(current, ServeConfig())
        for path in ("/readyz", "/v1/model"):
            body = client.get(path).json()
            assert body["snapshot"] == "1-1"
            assert body["refused"]["version"] == "1-2"
            assert "learned.safetensors" in body["refused"]["reason"]


def test_a_log_that_cannot_be_followed_is_reported(world: World) -> None:
    world.open()
    with world.server() as current:
        client = client_on(current, ServeConfig())
    current.degradation = Degradation(since=0.0, reason="shop.items was deleted and made again")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert ready.json()["degraded"] == "shop.items was deleted and made again"
    assert client.get(FOR_ANN).json()["log_away_seconds"] > 0


def test_keys(open_shop: World) -> None:
    keys = (SecretStr("first" * 4), SecretStr("sécond" * 3))
    with client_of(open_shop, api_keys=keys) as client:
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert client.head(path).status_code == 200
            assert client.get(path).status_code == 200
        for path in (FOR_ANN, "/v1/model", "/v1/items/red-cup/similar", "/metrics"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"X-API-Key": "wrong"}).status_code == 401
            assert client.get(path, headers={"X-API-Key": "first" * 4}).status_code == 200
            assert client.get(path, headers={b"X-API-Key": ("sécond" * 3).encode()}).status_code == 200
        refused = client.get(FOR_ANN)
        assert client.post("/v1/recommendations", content=b"who am I").status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"


def test_who_only_looks_leaves_no_impression(open_shop: World) -> None:
    submitted = Submitted()
    with client_of(open_shop, submitted) as client:
        looked = client.get(FOR_ANN, params={"record": "false"}).json()
        shown = client.get(FOR_ANN).json()
    assert looked["impression"] is None and len(submitted) == 1
    assert looked["items"] == shown["items"]


def test_impressions_record_the_answer(open_shop: World) -> None:
    submitted = Submitted()
    with client_of(open_shop, submitted) as client:
        answer = client.get(FOR_ANN, params={"k": 3}).json()
        client.post("/v1/recommendations", json={"history": [{"item": "red-cup"}]})
        client.get("/v1/items/red-cup/similar")
        nothing = client.get(FOR_ANN, params={"category": "none such"}).json()
    impression = validate(Impression, submitted[0])
    assert len(submitted) == 1 and nothing["impression"] is None
    assert answer["impression"] == impression.impression_id
    assert (impression.user, impression.snapshot, impression.time) == ("ann", answer["snapshot"], NOW)
    assert list(impression.items) == [shown["item"] for shown in answer["items"]]
    assert list(impression.scores) == [shown["score"] for shown in answer["items"]]
    assert (impression.policy, impression.propensities, impression.pool) == ("greedy", (1.0,) * 3, 0)
    assert impression.offsets == answer["offsets"]


def test_metrics_by_route_and_status(client: TestClient) -> None:
    client.get(FOR_ANN)
    client.get("/v1/users/bob/recommendations?k=0")
    client.get("/no/such/path")
    text = client.get("/metrics").text
    route = 'route="/v1/users/{user}/recommendations"'
    assert f'millstream_request_seconds_count{{{route},status="200"}}' in text
    assert f'millstream_request_seconds_count{{{route},status="422"}}' in text
    assert 'millstream_request_seconds_count{route="unknown",status="404"}' in text
    assert "/users/ann" not in text and "/no/such" not in text
    for name in ("swaps_total", "swap_seconds", "staleness_seconds", "appended_to_served_seconds_bucket"):
        assert f"millstream_{name}" in text


def test_openapi_describes_everything(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/model",
        "/v1/rank",
        "/v1/events/{event_id}/reward",
        "/v1/recommendations",
        "/v1/users/{user}/recommendations",
        "/v1/users/{user}/ratings/{item}",
        "/v1/items/{item}/similar",
    }
    for path in schema["paths"].values():
        for operation in path.values():
            assert operation["description"]
    parameters = schema["paths"]["/v1/users/{user}/recommendations"]["get"]["parameters"]
    assert next(p for p in parameters if p["name"] == "k")["schema"]["maximum"] == 20


@pytest.mark.parametrize(
    ("query", "field", "remedy"),
    [
        ("excludeSeen=true", "query.excludeSeen", "did you mean exclude_seen?"),
        ("n=3", "query.n", "did you mean k?"),
        ("limit=3", "query.limit", "did you mean k?"),
        ("Category=red", "query.Category", "did you mean category?"),
        ("sesion=a", "query.sesion", "did you mean session?"),
        (
            "zzz=1",
            "query.zzz",
            "it has category, context, diversity, exclude, exclude_seen,",
        ),
        ("exclude=red-cup,blue-cup", "query.exclude", "exclude=A&exclude=B"),
        ("k=3&k=5", "query.k", "send it once"),
        ("x" * 5_000 + "=1", "query.xxx", "is no parameter of this route"),
        ("exclude_seen=bought", "query.exclude_seen.0: ", "'purchase'"),
        ("category=", "query.category", "at least 1 character"),
    ],
)
def test_a_parameter_that_is_not_known_is_refused_with_the_nearest(
    client: TestClient, query: str, field: str, remedy: str
) -> None:
    answer = client.get(f"{FOR_ANN}?{query}")
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail.startswith(field) and remedy in detail
    assert len(detail) < 400


def test_every_v1_route_knows_its_parameters(client: TestClient) -> None:
    assert (
        "session" not in client.get("/v1/items/red-cup/similar?sesion=a").json()["detail"].split("it has")[1]
    )
    assert client.get("/v1/model?k=3").json()["detail"] == "query.k: this route has no query parameters"
    body = {"history": [{"item": "red-cup"}]}
    assert client.post("/v1/recommendations?excludeSeen=true", json=body).status_code == 422
    assert client.post("/v1/recommendations?exclude_seen=true", json=body).status_code == 200


def test_an_item_whose_id_holds_a_comma_can_be_excluded(world: World) -> None:
    world.stock()
    world.upsert("red,cup", "red cup")
    with client_of(world) as client:
        answer = client.get(f"{FOR_ANN}?k=20&exclude=red,cup&exclude=unknown")
        assert answer.status_code == 200
        assert len(answer.json()["items"]) == 12
        assert client.get(f"{FOR_ANN}?exclude=red,lamp").status_code == 422


def test_the_times_of_a_history_in_a_request_are_not_in_seconds(client: TestClient) -> None:
    for time, status in (
        (1_795_640_207, 422),
        (1_795_640_207_000, 200),
        ("2026-11-25T20:00:00Z", 200),
        (5, 200),
    ):
        body = {"history": [{"item": "red-cup", "time": time}]}
        assert client.post("/v1/recommendations", json=body).status_code == status
