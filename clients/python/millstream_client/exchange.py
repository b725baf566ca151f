"""A call until its answer, without input or output: what to send, when, and what came of it.

A generator yields attempts and is given outcomes; `Client` and `AsyncClient` do nothing but send them.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterable
from typing import NamedTuple, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from millstream_client import calls
from millstream_client.answers import Receipt
from millstream_client.batches import Batches
from millstream_client.calls import Call
from millstream_client.errors import BY_STATUS, ClientError, Problem, UnexpectedAnswer, Unreachable
from millstream_client.events import Sent
from millstream_client.retries import Retries, retry_after

T = TypeVar("T")
PROBLEM_TYPE = "application/problem+json"
MOST_DETAIL = 200
"""Characters of a foreign answer that an error repeats."""


class Attempt(NamedTuple):
    """Send this call after a pause, in seconds."""

    call: Call[object]
    pause: float


Outcome = httpx.Response | httpx.TransportError
Exchange = Generator[Attempt, Outcome, T]


class _ProblemBody(BaseModel):
    model_config = ConfigDict(extra="ignore")

    title: str
    detail: str


def ask(call: Call[T], retries: Retries) -> Exchange[T]:
    """Send a call until it has its answer.

    Raises:
        ClientError: it was refused, or the last attempt failed.
    """
    attempt, pause = 1, 0.0
    while True:
        outcome = yield Attempt(call, pause)
        error = _error_of(outcome, call)
        if error is None:
            return _read(outcome, call)
        following = retries.pause_after(attempt, error)
        if following is None:
            raise error
        attempt, pause = attempt + 1, following


def send(
    path: str, events: Sent | Iterable[Sent], key: str | None, batches: Batches, retries: Retries
) -> Exchange[Receipt]:
    """Send events in batches, one after the other; refused ones are numbered through the whole call.

    Raises:
        ClientError: a batch failed; its `receipt` is that of the batches before it.
    """
    key = key or str(uuid.uuid4())
    total, lines_before = Receipt(accepted=0, refused=[]), 0
    for number, lines in enumerate(batches.divide([events] if isinstance(events, Sent) else events)):
        try:
            receipt = yield from ask(calls.send(path, lines, f"{key}-{number}"), retries)
        except ClientError as error:
            error.receipt = total
            raise
        total, lines_before = total.followed_by(receipt, lines_before), lines_before + len(lines)
    return total


def _error_of(outcome: Outcome, call: Call[T]) -> ClientError | None:
    """Return what is wrong with an outcome; None if it is an answer."""
    if isinstance(outcome, httpx.TransportError):
        error = Unreachable(f"the {call.service} does not answer: {outcome or type(outcome).__name__}")
        error.__cause__ = outcome
        return error
    is_problem = _media_type(outcome) == PROBLEM_TYPE
    if outcome.is_success or (outcome.status_code in call.errors_read and not is_problem):
        return None
    return _problem(outcome)


def _problem(response: httpx.Response) -> Problem:
    """Read a problem; an error of another form may be a proxy's."""
    kind = BY_STATUS.get(response.status_code, Problem)
    title, detail = response.reason_phrase, response.text[:MOST_DETAIL]
    if _media_type(response) == PROBLEM_TYPE:
        try:
            body = _ProblemBody.model_validate_json(response.content)
        except ValidationError:
            pass
        else:
            title, detail = body.title, body.detail
    return kind(response.status_code, title, detail, retry_after(response.headers.get("retry-after")))


def _read(outcome: Outcome, call: Call[T]) -> T:
    assert isinstance(outcome, httpx.Response)
    try:
        return call.read(outcome.content)
    except ValidationError as error:
        raise UnexpectedAnswer(
            f"the answer of {outcome.url.host} is none of millstream's {call.service}"
        ) from error


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
