"""Problems: errors as RFC 9457 defines them, for the framework's refusals, too."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException as StarletteHTTPException

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


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Name each invalid field and its fault, never its value."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return problem(422, "; ".join(faults[:MAX_FAULTS]))


def _http_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    detail = FRAMEWORK_DETAILS.get(str(error.detail), str(error.detail))
    return problem(error.status_code, detail, error.headers)
