"""The limit of refusals: a daemon stops reading a stream of which nearly everything is refused.

Otherwise a producer with a wrong format would have its whole topic turned into dead letters before
anybody looks.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable

import orjson

from pipeline import metrics
from pipeline.config import RefusalsConfig

log = logging.getLogger(__name__)

Letters = Iterable[tuple[str, bytes]]
"""Keys and values of dead letters."""


class RefusalLimit:
    """Counts the refused among the last records; once they are too many, it stays exceeded."""

    def __init__(self, daemon: str, config: RefusalsConfig, remedy: str) -> None:
        """`daemon` is the label of the metric; `remedy` says how to go on."""
        self._daemon, self._config, self._remedy = daemon, config, remedy
        self._batches = deque[tuple[int, Counter[str]]]()
        self._records = 0
        self.is_exceeded = False
        metrics.READING_STOPPED.labels(daemon).set(0)

    def add(self, records: int, letters: Letters) -> None:
        """Count a number of records, and the dead letters of those that were refused."""
        codes = {place: str(orjson.loads(letter)["code"]) for place, letter in letters}
        self._batches.append((records, Counter(codes.values())))
        self._records += records
        while self._records - self._batches[0][0] >= self._config.window_records:
            self._records -= self._batches.popleft()[0]
        refused = sum((counts for _, counts in self._batches), Counter[str]())
        if self._records >= self._config.window_records and not self.is_exceeded:
            self._check(refused, next(reversed(codes), ""))

    def _check(self, refused: Counter[str], last: str) -> None:
        if refused.total() <= self._config.most_share * self._records:
            return
        self.is_exceeded = True
        metrics.READING_STOPPED.labels(self._daemon).set(1)
        reasons = ", ".join(f"{code} {count:,}" for code, count in refused.most_common())
        log.error(
            "%s reads nothing more: of the last %s records, %s were refused (%s), %s the last; see"
            " `millstream dead-letters list`; %s",
            self._daemon,
            f"{self._records:,}",
            f"{refused.total():,}",
            reasons,
            last,
            self._remedy,
        )
