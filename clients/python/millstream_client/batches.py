"""Events as bodies of NDJSON, bounded by number and size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from millstream_client.events import Sent


@dataclass(frozen=True)
class Batches:
    """Bounds of one request; they must not exceed those of the gateway.

    Attributes:
        events: in a request, at most.
        max_bytes: of a body, at most; an event that is larger is sent alone, for the gateway to refuse.
    """

    events: int = 1_000
    max_bytes: int = 1 << 20

    def divide(self, events: Iterable[Sent]) -> Iterator[list[bytes]]:
        """Yield the lines of each request."""
        lines: list[bytes] = []
        size = 0
        for event in events:
            line = event.wire()
            if lines and (len(lines) >= self.events or size + len(line) > self.max_bytes):
                yield lines
                lines, size = [], 0
            lines.append(line)
            size += len(line) + 1  # the line break
        if lines:
            yield lines
