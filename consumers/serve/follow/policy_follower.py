"""A thread that follows the changes of the policy, so that a server uses what was promoted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event

from consumers.serve.follow.beside import read_beside
from pipeline.errors import InvalidEvent
from pipeline.eventlog.port import EventLog, Record
from pipeline.eventlog.refusal_log import RefusalLog
from pipeline.policy.changes import PolicyChange, PolicyChanges

MAX_RECORDS = 1_000
MEND = (
    "the policy of the last good promotion stays in use: see `millstream policy list`, and promote again "
    "what is missing there"
)

log = logging.getLogger(__name__)


class PolicyFollower:
    """Reads all changes, and then each new one, and has the policy used that they lead to."""

    def __init__(
        self, event_log: EventLog, topic: str, use: Callable[[PolicyChange | None], None], poll_seconds: float
    ) -> None:
        """Call `use` once all changes are read, and whenever they lead to another policy than before.

        Args:
            use: takes the promotion of the policy; None for that of the settings.
        """
        self._log, self._topic, self._use, self._poll_seconds = event_log, topic, use, poll_seconds
        self._used: PolicyChange | None = None
        self._is_known = False
        self._refusals = RefusalLog("serve", remedy=MEND)

    def run(self, stop: Event) -> None:
        """Read until `stop` is set; while the log is away, the policy stays what it is."""
        read_beside(self._follow, self._log, stop, "changes of the policy are not known")

    def _follow(self, stop: Event) -> None:
        changes, ends = PolicyChanges(), self._log.end_offsets([self._topic])
        with self._log.reader(self._log.begin_offsets([self._topic])) as reader:
            while not stop.is_set():
                for record in reader.poll(MAX_RECORDS, 0):  # if it waited, it looked after each commit
                    self._add(changes, record)
                self._refusals.settle()
                if all(reader.positions()[source] >= end for source, end in ends.items()):
                    self._apply(changes.in_use)
                stop.wait(self._poll_seconds)

    def _apply(self, promotion: PolicyChange | None) -> None:
        if self._is_known and promotion == self._used:
            return
        if promotion or self._is_known:
            log.warning("policy in use: %s", promotion.policy if promotion else "that of the settings")
        self._use(promotion)
        self._used, self._is_known = promotion, True

    def _add(self, changes: PolicyChanges, record: Record) -> None:
        try:
            changes.add(PolicyChange.decode(record.value or b""))
        except InvalidEvent as error:
            self._refusals.add(record, error)
