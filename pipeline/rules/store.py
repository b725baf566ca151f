"""The rules topic, read and written by those who administer rules."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from pipeline.errors import InvalidEvent, InvalidSettings
from pipeline.eventlog.port import EventLog, read_compacted
from pipeline.rules.rule import MAX_RULES, Rule, encode_rule, rule_of


class RuleStore:
    """The rules of one model; may be used from several threads."""

    def __init__(self, event_log: EventLog, topic: str) -> None:
        self._log = event_log
        self._topic = topic
        self._lock = Lock()  # to count and to write are one step; other processes may still write between

    def all(self) -> dict[str, Rule]:
        """Return the rules by name, in its order; records that are no rules are left out, as servers do.

        Raises:
            LogUnavailable: the log does not answer.
            TopicError: the topic does not exist.
        """
        found = {}
        for name, record in sorted(read_compacted(self._log, self._topic).items()):
            try:
                rule = rule_of(record)
            except InvalidEvent:
                continue
            if not isinstance(rule, str):
                found[name] = rule
        return found

    def put(self, rules: Iterable[Rule]) -> None:
        """Add rules, or replace those of the same names; they are durable when this returns.

        Raises:
            InvalidSettings: there would be more than MAX_RULES.
            InvalidEvent: a rule is too large.
            DeliveryError, LogUnavailable: the log did not acknowledge them.
        """
        records = {rule.name: encode_rule(rule) for rule in rules}
        with self._lock:
            if len(self.all() | records) > MAX_RULES:
                raise InvalidSettings(f"there would be more than {MAX_RULES} rules: remove some first")
            self._write(records)

    def remove(self, name: str) -> None:
        """Remove a rule; one that is not there, too.

        Raises:
            DeliveryError, LogUnavailable: the log did not acknowledge it.
        """
        self._write({name: None})

    def _write(self, records: dict[str, bytes] | dict[str, None]) -> None:
        with self._log.writer() as writer:
            for name, value in records.items():
                writer.append(self._topic, name, value)
            writer.flush()
