"""A short form of `make fuzz`, always the same: both applications answer as their OpenAPI documents say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.apps import APPS
from tests.fuzz.requests import fuzz

CASES, SEED = 25, 7
OPEN = {"GET /readyz", "GET /healthz", "GET /metrics", "GET /v1/model", "GET /v1/rules"}
"""They have no parameters, so that nothing about a request can be invalid."""


@pytest.mark.parametrize("name", APPS)
def test_answers_are_as_the_document_says(name: str, tmp_path: Path) -> None:
    with APPS[name](tmp_path) as make:
        statuses = fuzz(make, CASES, SEED)
    for label, found in statuses.items():
        operation, _, mode = label.partition(", ")
        if operation in OPEN:
            assert set(found) <= {200}
        else:
            assert found.total() >= CASES, f"{label}: too few requests"
            assert mode == "negative" or {200, 202, 204, 404} & set(found), label
