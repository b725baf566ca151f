"""The server's answers, over its HTTP interface."""

from __future__ import annotations

from collections.abc import Mapping
from ssl import SSLError
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import orjson

from pipeline.config import Settings
from pipeline.errors import MillstreamError
from pipeline.keys import HEADER
from pipeline.metrics import reached, trusting, unreachable

ANSWER_SECONDS = 10.0
SHOWN_ITEMS = 10
Answer = dict[str, Any]


class ServerUnavailable(MillstreamError):
    """The server does not answer, or not as it should; names the remedy."""


class ServerRefused(MillstreamError):
    """The server refused what was asked; the message is its own."""


class Answers:
    """Asks the server; nothing that is asked here is written as an impression."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Ask a server at a URL, with a key of the settings if they have one."""
        key = settings.serve.own_key
        self._url = url.rstrip("/")
        self._context = trusting(settings.metrics.authority) if url.startswith("https:") else None
        self._headers = {HEADER: key.get_secret_value()} if key else {}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Ask the server of the settings."""
        serve = settings.serve
        own = f"{serve.http.scheme}://{reached(serve.host)}:{serve.port}"
        return cls(settings.console.server or own, settings)

    def for_user(self, user: str) -> Answer:
        """Ask what a user would be recommended, with explanations."""
        return self._get(f"/v1/users/{quote(user, safe='')}/recommendations", record="false")

    def for_history(self, items: list[str]) -> Answer:
        """Ask what somebody with a history of these items, oldest first, would be recommended."""
        body = orjson.dumps({"history": [{"item": item} for item in items]})
        return self._get("/v1/recommendations", body)

    def similar_to(self, item: str) -> Answer:
        """Ask for the items most similar to one."""
        return self._get(f"/v1/items/{quote(item, safe='')}/similar")

    def _get(self, path: str, body: bytes | None = None, **query: str) -> Answer:
        asked = urlencode({"k": SHOWN_ITEMS, "explain": "true", **query})
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        request = Request(f"{self._url}{path}?{asked}", data=body, headers=headers)
        try:
            with urlopen(request, timeout=ANSWER_SECONDS, context=self._context) as response:
                return _read(response.read())
        except HTTPError as error:
            raise ServerRefused(_detail(error)) from None
        except OSError as error:
            raise ServerUnavailable(_away(self._url, error)) from None


def _away(url: str, error: OSError) -> str:
    """Why a server does not answer, and what mends it."""
    why = unreachable(error, "console.server")
    if isinstance(getattr(error, "reason", error), SSLError):
        return f"the server at {url} cannot be asked: {why}"
    remedy = f"start it with `millstream serve`, or set console.server ({why})"
    return f"the server at {url} does not answer: {remedy}"


def _read(content: bytes) -> Answer:
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ServerUnavailable("what answers at console.server is no server of millstream")
    return answer


def _detail(error: HTTPError) -> str:
    """What the problem says that was answered."""
    try:
        problem: Mapping[str, Any] = orjson.loads(error.read())
        return str(problem["detail"])
    except (orjson.JSONDecodeError, KeyError, TypeError, OSError):
        return f"the server answers {error.code}"
