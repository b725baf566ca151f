"""A slash behind a path is answered as the path without it, and is a part of an id."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from pipeline.http.middleware import RequestTimes
from pipeline.http.paths import answer_with_slashes, register_ids
from pipeline.http.problems import answer_with_problems
from pipeline.metrics import REGISTRY


@pytest.fixture
def client() -> TestClient:
    register_ids()
    app = FastAPI()
    app.add_middleware(RequestTimes)
    answer_with_problems(app)
    answer_with_slashes(app)

    @app.post("/v1/items")
    async def post(request: Request) -> str:
        return (await request.body()).decode()

    @app.delete("/v1/items/{item:id}")
    def delete(item: str) -> str:
        return item

    @app.get("/v1/users/{item:id}/similar")
    def similar(item: str, k: int = 1) -> str:
        return f"{k} of {item}"

    @app.get("/")
    def root() -> str:
        return "root"

    return TestClient(app, follow_redirects=False)


@pytest.mark.parametrize("path", ["/v1/items", "/v1/items/"])
def test_a_body_arrives_with_or_without_a_slash(client: TestClient, path: str) -> None:
    answer = client.post(path, content=b"mug")
    assert (answer.status_code, answer.json()) == (200, "mug")


@pytest.mark.parametrize(
    ("path", "answered"),
    [
        ("/v1/users/mug/similar", "1 of mug"),
        ("/v1/users/mug/similar/?k=3", "3 of mug"),
        ("/v1/users/a/b//similar///", "1 of a/b/"),
        ("/v1/users//similar", "1 of "),
        ("/", "root"),
    ],
)
def test_only_the_slashes_behind_a_route_say_nothing(client: TestClient, path: str, answered: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, answered)


@pytest.mark.parametrize("item", ["mug", "mug/", "a/b", "a\n", "/"])
def test_a_slash_within_an_id_is_a_part_of_it(client: TestClient, item: str) -> None:
    assert client.request("DELETE", f"/v1/items/{item.replace(chr(10), '%0A')}").json() == item


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nowhere/", 404), ("GET", "/v1/nowhere", 404), ("DELETE", "/v1/items/", 405)],
)
def test_what_no_route_has_is_a_problem(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_request_with_a_slash_is_observed_at_its_route(client: TestClient) -> None:
    labels = {"route": "/v1/users/{item}/similar", "status": "200"}

    def observed() -> float:
        return REGISTRY.get_sample_value("millstream_request_seconds_count", labels) or 0.0

    before = observed()
    client.get("/v1/users/mug/similar/")
    assert observed() == before + 1
