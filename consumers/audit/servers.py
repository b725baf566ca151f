"""Late equals early: a running server answers as one that starts now, at the same snapshot and offsets."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Literal, TypeVar
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import numpy as np
from pydantic import BaseModel, ValidationError

from consumers.audit.answers import TOLERANCE
from consumers.audit.check import AuditCheck
from consumers.serve.follow.following import following
from consumers.serve.query import RecommendationQuery
from consumers.serve.schemas import ModelCard, Recommendations
from consumers.serve.service import NotReady, RecommendationService
from consumers.serve.state.current import CurrentState
from pipeline.config import Settings
from pipeline.control.policies import read_policy_changes
from pipeline.eventlog.port import EventLog, read_compacted
from pipeline.eventlog.topics import Topics
from pipeline.keys import HEADER
from pipeline.policy.arms import Arms, make_arms
from pipeline.wording import counted

READY_SECONDS = 300.0
"""How long the new server may take to read the log."""
EQUAL_SECONDS = 30.0
"""How long both servers may take to come to the same snapshot and offsets."""
POLL_SECONDS = 0.05
ANSWER_SECONDS = 10.0
ITEMS = 20
"""Items of each answer that is compared."""

Precision = Literal["float32", "int8"]
Response = TypeVar("Response", bound=BaseModel)


def check_servers(
    event_log: EventLog, topics: Topics, settings: Settings, urls: Sequence[str], users: int
) -> list[AuditCheck]:
    """Compare each server's answers for some users with those of a new server; one check a server.

    The servers record an impression of each answer, as of any other.
    """
    sample = _sample(read_compacted(event_log, topics.histories), users)
    arms = make_arms(settings.policy, read_policy_changes(event_log, topics).in_use)
    repeatable = [user for user in sample if arms.of(user).policy.ranks_by is None]

    def checks_of(precision: Precision, urls: Sequence[str]) -> dict[str, AuditCheck]:
        serve = settings.serve.model_copy(update={"precision": precision})
        compared = settings.model_copy(update={"serve": serve})
        with new_server(event_log, topics, compared, arms) as service:
            return {url: _check_server(_Server(url, settings), service, repeatable) for url in urls}

    own: Precision = settings.serve.precision
    other: Precision = "float32" if own == "int8" else "int8"
    checks = checks_of(own, urls)
    if differing := [url for url, check in checks.items() if check.findings]:
        again = checks_of(other, differing)
        checks |= {url: _of_precision(check, other) for url, check in again.items() if not check.findings}
    return [_with_left_out(check, len(sample) - len(repeatable)) for check in checks.values()]


def _of_precision(check: AuditCheck, precision: Precision) -> AuditCheck:
    """Say that a server answers as one of another precision does, which is no fault."""
    return check._replace(
        checked=f"{check.checked}, by serve.precision = {precision!r}, which is not that of these settings"
    )


def _with_left_out(check: AuditCheck, count: int) -> AuditCheck:
    """Say how many users get answers by values, which follow from the time and from what was shown."""
    if not count:
        return check
    left_out = f"{count} left out that values rank; `rebuild --answer` repeats those"
    return check._replace(checked=f"{check.checked}, {left_out}")


@contextmanager
def new_server(
    event_log: EventLog, topics: Topics, settings: Settings, arms: Arms
) -> Iterator[RecommendationService]:
    """Follow the log as `new_state` does; yield the service that answers from it."""
    with new_state(event_log, topics, settings) as current:
        yield RecommendationService(current, settings.learn.segments.context, arms=arms)


@contextmanager
def new_state(event_log: EventLog, topics: Topics, settings: Settings) -> Iterator[CurrentState]:
    """Follow the log in a thread, as a server does that has just started; yield its state once it is ready.

    Raises:
        NotReady: it did not come to the end of the log in time.
    """
    current, stop = CurrentState(), Event()
    follow = following(settings, event_log, topics, current)
    with ThreadPoolExecutor(1, thread_name_prefix="follower") as threads:
        ended = threads.submit(follow, stop)
        try:
            if not _wait(lambda: current.view is not None or ended.done(), READY_SECONDS):
                raise NotReady("a new server did not come to the end of the log")
            yield current
        finally:
            stop.set()
        ended.result()


class _Server:
    """A running server, whose settings are ours.

    Attributes:
        query: what a request for `ITEMS` items without other parameters asks it.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url.rstrip("/")
        key = settings.serve.own_key
        self._headers = {HEADER: key.get_secret_value()} if key else {}
        self.query = replace(RecommendationQuery.by_default(settings.serve), k=ITEMS)

    def recommend(self, user: str) -> Recommendations:
        """Ask for a user's recommendations."""
        return self._ask(f"/v1/users/{quote(user, safe='')}/recommendations?k={ITEMS}", Recommendations)

    def model(self) -> ModelCard:
        """Ask what it serves."""
        return self._ask("/v1/model", ModelCard)

    def _ask(self, path: str, response: type[Response]) -> Response:
        with urlopen(Request(self.url + path, headers=self._headers), timeout=ANSWER_SECONDS) as answer:
            return response.model_validate_json(answer.read())


def _check_server(server: _Server, new: RecommendationService, users: Sequence[str]) -> AuditCheck:
    subject = f"server {server.url}"
    try:
        if not _wait(lambda: _is_equal(server.model(), new.model()), EQUAL_SECONDS):
            return AuditCheck.of(subject, "no answers", [_behind(server.model(), new.model())])
        answers = [_compared(server, new, user) for user in users]
    except (URLError, OSError, ValidationError) as error:
        return AuditCheck.of(subject, "no answers", [f"it does not answer: {error}"])
    findings = [answer for answer in answers if answer is not None]
    return AuditCheck.of(subject, counted(len(answers), "answer"), findings)


def _is_equal(one: ModelCard, other: ModelCard) -> bool:
    """Whether two servers have the same snapshot and offsets, and have encoded all texts."""
    return _standpoint(one) == _standpoint(other) and not one.pending_texts and not other.pending_texts


def _standpoint(answer: ModelCard | Recommendations) -> tuple[str | None, dict[str, int]]:
    return answer.snapshot, answer.offsets


def _behind(one: ModelCard, other: ModelCard) -> str:
    read = counted(sum(one.offsets.values()), "record")
    return (
        f"it serves snapshot {one.snapshot} and has read {read}, a new server "
        f"{other.snapshot} and {sum(other.offsets.values()):,}"
    )


def _compared(server: _Server, new: RecommendationService, user: str) -> str | None:
    """Say how the answers for a user differ; None if they are the same. Both must have read the same."""
    deadline = time.monotonic() + EQUAL_SECONDS
    while True:
        early = server.recommend(user)
        late = new.for_user(user, None, server.query, early.impression)
        if _standpoint(early) == _standpoint(late):
            return _difference(user, early, late)
        if time.monotonic() > deadline:
            return f"user {_digest(user)}: the servers never came to the same snapshot and offsets"
        time.sleep(POLL_SECONDS)


def _difference(user: str, early: Recommendations, late: Recommendations) -> str | None:
    """Say how two answers differ, without the user's id."""
    ids = [[shown.item for shown in answer.items] for answer in (early, late)]
    scores = [[shown.score for shown in answer.items] for answer in (early, late)]
    if ids[0] == ids[1] and np.allclose(scores[0], scores[1], rtol=TOLERANCE, atol=0):
        return None
    first = next((n for n, pair in enumerate(zip(*ids, strict=False)) if pair[0] != pair[1]), len(ids[0]))
    what = "scores" if ids[0] == ids[1] else f"items from position {first + 1} on"
    return f"user {_digest(user)}: the {what} differ from a new server's, at {early.snapshot}"


def _sample(users: Iterable[str], amount: int) -> list[str]:
    """Choose users at random, the same ones each time."""
    return sorted(users, key=_digest)[:amount]


def _digest(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:12]


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is true; return whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
