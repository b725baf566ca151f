"""Bodies of requests, which are JSON."""

from __future__ import annotations

from fastapi import HTTPException, Request

from pipeline.http.operations import Responses, problems

BODY_PROBLEMS: Responses = problems(
    {
        400: "The body is no JSON in UTF-8",
        411: "The body's length is not declared",
        413: "The body is too large",
        415: "The body is not declared as application/json, or compressed",
    }
)


async def check_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON: it is not read, so its fields would all seem wrong."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HTTPException(415, "send JSON, with the header Content-Type: application/json")
