"""Requests that schemathesis makes up from an application's OpenAPI document, valid ones and others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import hypothesis
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr
from schemathesis import APIOperation, Case, CheckFunction, GenerationMode, Response
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from pipeline.keys import HEADER
from tests.fuzz.apps import Maker

KEY = "a key of the fuzzed applications"
UNSAID_CODES = {"time_unit", "time_ahead", "too_large"}
UNSAID_REASONS = (
    "must be after published",
    "is in seconds",
    "no item has this id, which holds a comma",
    "is what the request itself says",
    "has a name twice",
    "is longer than",
    "acts on every item",
    "has no test",
    "can never hold",
    "is no time zone",
    "must be after starts",
    "must name the columns",
    "must name each column once",
    "csv has no column for",
    "is no number",
    "what begins there is no csv",
    "the text is not UTF-8",
    "the body holds no event",
)
"""Why a request is refused that fits the document: what JSON Schema cannot say."""
TOO_LARGE = 413
Statuses = Counter[int]
Operation = APIOperation[Any, Any, Any, Any]


def fuzz(make: Maker, cases: int, seed: int) -> dict[str, Statuses]:
    """Send at most so many valid and so many invalid requests to each operation; count the answers' statuses.

    Valid requests have a key, and are sent without it, too. Invalid ones need none, since the key is not what
    is wrong about them.

    Raises:
        Exception: an answer is not as the document says, a valid request is refused, or an invalid one taken.
    """
    keys = {GenerationMode.POSITIVE: [SecretStr(KEY)], GenerationMode.NEGATIVE: []}
    return {
        f"{operation.label}, {mode.value}": _sent(operation, mode, cases, seed)
        for mode in keys
        for operation in _operations(make(keys[mode]))
    }


def _operations(app: FastAPI) -> Iterator[Operation]:
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    for found in document.get_all_operations():
        assert isinstance(found, Ok), found.err()
        yield found.ok()


def _sent(operation: Operation, mode: GenerationMode, cases: int, seed: int) -> Statuses:
    statuses: Statuses = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: Case[Any]) -> None:
        headers = {HEADER: KEY} if mode is GenerationMode.POSITIVE else {}
        answer = case.call(headers=headers)
        statuses[answer.status_code] += 1
        case.validate_response(answer, excluded_checks=_not_for(answer), headers=headers)

    try:
        send()
    except Unsatisfiable:  # nothing can be wrong about a request without parameters
        assert mode is GenerationMode.NEGATIVE and not statuses
    return statuses


def _not_for(answer: Response) -> list[CheckFunction]:
    """The checks that do not apply: events of a batch are refused on their own, and 413 is a refusal."""
    said = answer.json() if "json" in answer.headers.get("content-type", [""])[0] else {}
    refused = said.get("refused") or [] if isinstance(said, Mapping) else []
    is_partial = bool(refused) and said["accepted"] > 0
    excluded: list[CheckFunction] = []
    if is_partial or answer.status_code == TOO_LARGE:
        excluded.append(negative_data_rejection)
    if answer.status_code in {400, 422} and _is_unsaid(refused, str(said)):
        excluded.append(positive_data_acceptance)
    return excluded


def _is_unsaid(refused: list[dict[str, str]], text: str) -> bool:
    codes = {line["code"] for line in refused}
    return bool(codes) and codes <= UNSAID_CODES or any(reason in text for reason in UNSAID_REASONS)
