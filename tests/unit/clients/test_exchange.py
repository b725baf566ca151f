"""What is sent again, when, and what comes of it; without a connection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, NamedTuple, TypeVar

import httpx
import pytest

from millstream_client import (
    Batches,
    Busy,
    ClientError,
    Interaction,
    Invalid,
    NotFound,
    Problem,
    Receipt,
    Retries,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    calls,
)
from millstream_client.exchange import Attempt, Exchange, Outcome, ask, send
from millstream_client.retries import retry_after

T = TypeVar("T")
RETRIES = Retries(attempts=3, first_pause=1.0, longest_pause=8.0)
URL = "http://shop.example"


class Run(NamedTuple):
    """What an exchange sent, and what came of it."""

    attempts: list[Attempt]
    result: Any

    @property
    def pauses(self) -> list[float]:
        return [attempt.pause for attempt in self.attempts]

    @property
    def keys(self) -> list[str]:
        return [attempt.call.headers["Idempotency-Key"] for attempt in self.attempts]


def run(exchange: Exchange[T], outcomes: Sequence[Outcome]) -> Run:
    """Give an exchange outcomes until it ends; an error is a result."""
    attempts = [next(exchange)]
    for outcome in outcomes:
        try:
            attempts.append(exchange.send(outcome))
        except StopIteration as done:
            return Run(attempts, done.value)
        except ClientError as error:
            return Run(attempts, error)
    raise AssertionError("it goes on")


def answer(status: int, body: object = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=named, request=httpx.Request("GET", URL))


def problem(status: int, detail: str = "so", **headers: str) -> httpx.Response:
    body = {"type": "about:blank", "title": "Title", "status": status, "detail": detail, "new": 1}
    return answer(status, body, content_type="application/problem+json", **headers)


def receipt(accepted: int, *refused: int) -> httpx.Response:
    lines = [{"line": line, "field": "user", "reason": "so", "code": "schema"} for line in refused]
    return answer(202 if accepted else 422, {"accepted": accepted, "refused": lines})


READY = {"ready": True, "snapshot": None, "refused": None, "degraded": None, "of_tomorrow": 1}
BROKEN = httpx.ConnectError("refused")


def test_the_first_answer_is_taken_and_unknown_fields_are_ignored() -> None:
    done = run(ask(calls.readiness(), RETRIES), [answer(200, READY)])
    assert done.pauses == [0.0]
    assert done.result.ready


def test_a_fault_of_the_connection_passes() -> None:
    done = run(ask(calls.readiness(), RETRIES), [BROKEN, httpx.ReadTimeout("slow"), answer(200, READY)])
    assert done.result.ready
    first, second, third = done.pauses
    assert first == 0 and 0.5 <= second <= 1 and 1 <= third <= 2


def test_attempts_are_bounded() -> None:
    done = run(ask(calls.model(), RETRIES), [BROKEN] * 3)
    assert len(done.attempts) == 3
    assert isinstance(done.result, Unreachable)
    assert done.result.__cause__ is BROKEN


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_sent_again_when_the_answer_says(status: int) -> None:
    outcomes = [problem(status, retry_after="7"), problem(status, retry_after="7"), problem(status)]
    done = run(ask(calls.model(), RETRIES), outcomes)
    assert done.pauses == [0.0, 7.0, 7.0]
    assert done.result.status == status


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 411, 413, 415, 422, 500])
def test_what_stays_is_not_sent_again(status: int) -> None:
    done = run(ask(calls.model(), RETRIES), [problem(status, "look")])
    assert isinstance(done.result, Problem)
    assert (done.result.status, done.result.title, done.result.detail) == (status, "Title", "look")


def test_a_longer_pause_than_allowed_fails_at_once() -> None:
    done = run(ask(calls.model(), RETRIES), [problem(429, retry_after="9")])
    assert isinstance(done.result, Busy)
    assert (done.result.retry_after, len(done.attempts)) == (9.0, 1)


def test_the_date_of_a_proxy_is_a_time_to_wait() -> None:
    found = retry_after(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert found is not None and 3_500 < found <= 3_600


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (422, Invalid), (429, Busy), (503, Unavailable), (500, Problem)]
)
def test_a_problem_has_a_class(status: int, kind: type[Problem]) -> None:
    assert type(run(ask(calls.model(), Retries(attempts=1)), [problem(status)]).result) is kind


@pytest.mark.parametrize(
    "foreign",
    [
        httpx.Response(404, text="<html>no</html>", request=httpx.Request("GET", URL)),
        answer(404, [], content_type="application/problem+json"),
    ],
)
def test_an_error_that_is_not_ours_is_a_problem_too(foreign: httpx.Response) -> None:
    done = run(ask(calls.model(), RETRIES), [foreign])
    assert isinstance(done.result, NotFound)
    assert done.result.title == "Not Found"


def test_an_answer_that_is_not_ours_says_so() -> None:
    done = run(ask(calls.model(), RETRIES), [answer(200, {"hello": "world"})])
    assert isinstance(done.result, UnexpectedAnswer)
    assert "shop.example" in str(done.result)


def test_not_ready_is_an_answer_and_a_proxys_503_is_not() -> None:
    not_ready = {**READY, "ready": False}
    assert not run(ask(calls.readiness(), RETRIES), [answer(503, not_ready)]).result.ready
    assert isinstance(run(ask(calls.readiness(), Retries(attempts=1)), [problem(503)]).result, Unavailable)


def views(count: int) -> list[Interaction]:
    return [Interaction(user=f"user-{n}", item="mug", type="view", time=n) for n in range(count)]


def sending(count: int, key: str | None = None, batches: Batches = Batches(events=2)) -> Exchange[Receipt]:  # noqa: B008 (frozen)
    return send("/v1/interactions", views(count), key, batches, RETRIES)


def test_events_are_divided_and_refused_lines_numbered_through() -> None:
    done = run(sending(5), [receipt(1, 2), receipt(0, 1, 2), receipt(1)])
    assert [attempt.call.body.count(b"\n") + 1 for attempt in done.attempts if attempt.call.body] == [2, 2, 1]
    assert done.result.accepted == 2
    assert [line.line for line in done.result.refused] == [2, 3, 4]


def test_a_batch_that_is_sent_again_has_the_same_key_and_the_same_bytes() -> None:
    done = run(sending(4, "order-7"), [BROKEN, problem(503, retry_after="1"), receipt(2), receipt(2)])
    assert done.keys == ["order-7-0", "order-7-0", "order-7-0", "order-7-1"]
    assert len({attempt.call.body for attempt in done.attempts[:3]}) == 1


def test_every_call_has_a_key_of_its_own() -> None:
    (one,), (other,) = run(sending(1), [receipt(1)]).keys, run(sending(1), [receipt(1)]).keys
    assert one != other


def test_an_error_tells_what_became_of_the_batches_before() -> None:
    done = run(sending(6), [receipt(1, 2), problem(413)])
    assert done.result.receipt.accepted == 1
    assert [line.line for line in done.result.receipt.refused] == [2]


def test_bodies_are_bounded_in_bytes() -> None:
    size = len(views(1)[0].wire())
    bounded = Batches(max_bytes=2 * size + 1)
    assert [len(lines) for lines in bounded.divide(views(5))] == [2, 2, 1]
    assert [len(lines) for lines in Batches(max_bytes=1).divide(views(2))] == [1, 1]


def test_no_events_are_no_request() -> None:
    with pytest.raises(StopIteration) as done:
        next(sending(0))
    assert done.value.value == Receipt(accepted=0, refused=[])


@pytest.mark.parametrize(
    ("key", "sent"),
    [("order 7%C3", "order 7%C3-0"), ("Bestellung-ü", "Bestellung-%C3%BC-0"), ("a\nb", "a%0Ab-0")],
)
def test_a_key_of_any_characters_is_a_header(key: str, sent: str) -> None:
    found = run(send("/v1/interactions", views(1), key, Batches(), RETRIES), [receipt(1)])
    assert found.keys == [sent]
    assert httpx.Headers(found.attempts[0].call.headers)["Idempotency-Key"] == sent
