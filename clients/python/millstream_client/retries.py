"""How often and when a request is repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from millstream_client.errors import ClientError


@dataclass(frozen=True)
class Retries:
    """Bounds of repeating a request that found no answer, or one that may be another a moment later.

    Attributes:
        attempts: how often a request is sent, at most.
        first_pause: seconds before the second time; it doubles each time, and half of it is random.
        longest_pause: seconds; if the answer asks for more, the call fails at once.
    """

    attempts: int = 4
    first_pause: float = 0.2
    longest_pause: float = 30.0

    def pause_after(self, attempt: int, error: ClientError) -> float | None:
        """Return the seconds to wait after this attempt, counted from 1; None if it was the last."""
        if attempt >= self.attempts or not error.may_pass:
            return None
        doubled = self.first_pause * 2 ** (attempt - 1) * random.uniform(0.5, 1)
        pause = max(min(doubled, self.longest_pause), error.retry_after or 0)
        return pause if pause <= self.longest_pause else None


def retry_after(header: str | None) -> float | None:
    """Read the header Retry-After: seconds, or a date of HTTP; None if it is neither.

    >>> retry_after("5"), retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), retry_after("soon")
    (5.0, 0.0, None)
    >>> retry_after("Fri, 31 Dec 1999 23:59:59 -0000")
    0.0
    """
    if header is None or header.strip().isdecimal():
        return float(header) if header else None
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:  # says of its zone only that it is unknown: HTTP has no other than UTC
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
