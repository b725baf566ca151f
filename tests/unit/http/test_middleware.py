"""Addresses that are no UTF-8 are refused before they are decoded to ids that are alike."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pipeline.http.middleware import Utf8Check


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.add_middleware(Utf8Check)

    @app.get("/users/{user}")
    def user(user: str, exclude: str = "") -> list[str]:
        return [user, exclude]

    return TestClient(app)


@pytest.mark.parametrize("address", ["/users/%FF", "/users/a%C3", "/users/%ED%A0%80", "/users/a?exclude=%FE"])
def test_what_is_not_utf8_is_refused(client: TestClient, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 400
    assert response.json()["detail"] == "path and query must be percent-encoded UTF-8"


@pytest.mark.parametrize("name", ["ann", "a b", "k\u00f6nig", "\U0001f600", "\ufffd", "100%"])
def test_what_is_utf8_arrives_as_it_was(client: TestClient, name: str) -> None:
    assert client.get(f"/users/{quote(name)}?exclude={quote(name)}").json() == [name, name]
