"""Ask a server for recommendations; nothing but the standard library.

python examples/client.py http://127.0.0.1:8000 17850
"""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

TIMEOUT_SECONDS = 5


class Client:
    """Talks to one server; `key` is needed where it has API keys."""

    def __init__(self, server: str, key: str | None = None) -> None:
        self._server = server.rstrip("/")
        self._headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})

    def for_user(self, user: str, k: int = 10, session: str | None = None) -> dict[str, Any]:
        """Return what a user is most likely to act on next."""
        query = {"k": k} | ({"session": session} if session else {})
        return self._ask(f"/v1/users/{quote(user, safe='')}/recommendations?{urlencode(query)}")

    def for_history(self, items: list[str], k: int = 10) -> dict[str, Any]:
        """Return what somebody who viewed these items, oldest first, is most likely to act on next."""
        history = [{"item": item, "type": "view"} for item in items]
        return self._ask(f"/v1/recommendations?k={k}", {"history": history})

    def similar_to(self, item: str, k: int = 10) -> dict[str, Any]:
        """Return the items that are most like another."""
        return self._ask(f"/v1/items/{quote(item, safe='')}/similar?k={k}")

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request; a problem becomes a RuntimeError that says what is wrong."""
        data = json.dumps(body).encode() if body is not None else None
        request = Request(self._server + path, data, self._headers)
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                found: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            problem = json.load(error)
            raise RuntimeError(f"{problem['title']}: {problem['detail']}") from error
        return found


def main(server: str = "http://127.0.0.1:8000", user: str = "17850") -> None:
    """Print a user's recommendations, and what they are based on."""
    answer = Client(server).for_user(user, k=5)
    for shown in answer["items"]:
        print(f"{shown['score']:.4f}  {shown['item']}  {shown['title'] or ''}")
    print(f"by {answer['source']}, snapshot {answer['snapshot']}, {answer['staleness_seconds']} s stale")


if __name__ == "__main__":
    main(*sys.argv[1:])
