"""What a call may raise: problems by their status (RFC 9457), and faults of the connection."""

from __future__ import annotations

from collections.abc import Mapping

from millstream_client.answers import Receipt

PASSING = frozenset({429, 502, 503, 504})
"""Statuses that may be others a moment later; proxies answer 502 and 504."""


class ClientError(Exception):
    """Base class of what a call raises.

    Attributes:
        receipt: what became of the earlier batches of the call; None if it does not send events.
        retry_after: seconds to wait before the next try, if the answer says so.
        may_pass: whether the same request may succeed a moment later.
    """

    receipt: Receipt | None = None
    retry_after: float | None = None
    may_pass = False


class Unreachable(ClientError):
    """No answer: the connection failed or timed out, each time."""

    may_pass = True


class UnexpectedAnswer(ClientError):
    """An answer that is none of millstream's; is the URL another server's?"""


class Problem(ClientError):
    """A request was refused.

    Attributes:
        status: of HTTP.
        title: the status in words.
        detail: what is wrong, and the remedy.
    """

    def __init__(self, status: int, title: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        self.may_pass = status in PASSING


class Unauthorized(Problem):
    """The key is missing or wrong."""


class Forbidden(Problem):
    """The key does not allow this."""


class NotFound(Problem):
    """Nobody knows the item, or there is no such route."""


class TooLarge(Problem):
    """The body is too large: make `Batches` smaller, or raise the setting of the gateway."""


class Invalid(Problem):
    """A parameter or a field is unknown or out of bounds."""


class Busy(Problem):
    """Too much is in flight, or the key has used up its rate."""


class Unavailable(Problem):
    """The server has not read the log yet, or the gateway's log is away."""


BY_STATUS: Mapping[int, type[Problem]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    413: TooLarge,
    422: Invalid,
    429: Busy,
    503: Unavailable,
}
