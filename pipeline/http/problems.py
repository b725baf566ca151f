"""Problems: errors as RFC 9457 defines them, for the framework's refusals, too."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException as StarletteHTTPException

from pipeline.wording import either, faults_of, listed, reason_of

MAX_FAULTS = 5
PROBLEM_TYPE = "application/problem+json"
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Titles that older Pythons have in other words; all others are Python's."""
FRAMEWORK_DETAILS = {
    "There was an error parsing the body": "the body cannot be read: send JSON in UTF-8",
    "Not Found": "there is no such route: /docs lists them",
    "Method Not Allowed": "the route has another method: see the header Allow, and /docs",
}
"""What the framework's own answers say instead of their status in words."""


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem response."""
    title = TITLES.get(status) or HTTPStatus(status).phrase
    body = Problem(title=title, status=status, detail=detail).model_dump()
    return JSONResponse(body, status, headers, media_type=PROBLEM_TYPE)


def answer_with_problems(app: FastAPI) -> None:
    """Let an application answer with problems where a request is invalid or an HTTPException is raised."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http_problem)


def request_faults(request: Request, error: RequestValidationError) -> str:
    """Name each invalid field and its fault, of an unknown one the nearest known, never its value."""
    problems = error.errors()
    body = [{**one, "loc": one["loc"][1:]} for one in problems if one["loc"][0] == "body"]
    others = [one for one in problems if one["loc"][0] != "body"]
    reasons = dict[str, list[str]]()
    for one in others:  # a member of a union is no part of a parameter's place
        reasons.setdefault(".".join(map(str, one["loc"][:3])), []).append(reason_of(one))
    faults = [f"{place}: {either(said)}" for place, said in reasons.items()]
    if body:
        field = request.scope["route"].body_field
        found = faults_of(body, field.field_info.annotation)
        faults += [f"body{'.' * bool(place)}{place}: {reason}" for place, reason in found]
    return listed(faults, MAX_FAULTS)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem(422, request_faults(request, error))


def _http_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    detail = FRAMEWORK_DETAILS.get(str(error.detail), str(error.detail))
    return problem(error.status_code, detail, error.headers)
