"""Steering: the business rules, and what they may know of users, as read from the log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from pipeline import metrics
from pipeline.errors import InvalidEvent
from pipeline.eventlog.intake import user_of
from pipeline.eventlog.port import Record
from pipeline.rules.columns import Items
from pipeline.rules.compiled import NO_RULES, CompiledRules
from pipeline.rules.rule import Rule, rule_of
from pipeline.state.profiles import NO_ATTRIBUTES, declared, stored_attributes

Refuse = Callable[[Record, InvalidEvent], None]
"""Called with a record that is refused, and why."""


class UserAttributes:
    """Attributes by user, each kept as JSON, in a third of the memory of a dictionary."""

    def __init__(self) -> None:
        self._stored: dict[str, bytes] = {}

    def stored(self, user: str) -> bytes:
        """Return a user's attributes as they are stored; equal ones are equal bytes."""
        return self._stored.get(user, NO_ATTRIBUTES)

    def put(self, user: str, stored: bytes) -> None:
        """Replace the attributes of a user."""
        if stored:
            self._stored[user] = stored
        else:
            self._stored.pop(user, None)


def steered_by(rules: CompiledRules, attributes: bytes, names: Sequence[str] = ()) -> str:
    """Return the digest of all that rules and users make an answer depend on; empty if that is nothing.

    Args:
        rules: the rules.
        attributes: those of the user, as they are stored.
        names: of attributes that the model reads.
    """
    read = attributes if rules.reads_users else declared(attributes, tuple(names))
    found = rules.digest.encode() + read
    return hashlib.blake2b(found, digest_size=8).hexdigest() if found else ""


class Steering:
    """Rules and attributes of users; for one thread, but for `users`.

    Attributes:
        users: as requests see them; changed by `apply` alone.
    """

    def __init__(self, users: str, rules: str, refuse: Refuse = lambda record, error: None) -> None:
        """Start before any record was read.

        Args:
            users, rules: names of topics.
            refuse: called with each record that is no user and no rule, and why.
        """
        self._refuse = refuse
        self.users = UserAttributes()
        self._updated: dict[str, bytes] = {}
        self._topics = {users: self._read_user, rules: self._read_rule}
        self._rules: dict[str, Rule] = {}
        self._compiled = NO_RULES
        self._is_changed = False

    def read(self, record: Record) -> None:
        """Read a record; skip one of another topic, and one that is no user or rule."""
        read = self._topics.get(record.topic)
        try:
            if read is not None:
                read(record)
        except InvalidEvent as error:
            self._refuse(record, error)

    def apply(self) -> None:
        """Make what was read of users visible to requests, which must not look meanwhile."""
        for user, stored in self._updated.items():
            self.users.put(user, stored)
        self._updated.clear()

    def compiled(self, items: Items) -> CompiledRules:
        """Return the rules for the items of an index."""
        if self._is_changed or not self._compiled.is_of(items):
            self._compiled = CompiledRules(self._rules.values(), items, self._compiled)
            self._is_changed = False
        return self._compiled

    def _read_user(self, record: Record) -> None:
        found = user_of(record)
        if isinstance(found, str):
            self._updated[found] = NO_ATTRIBUTES
        else:
            self._updated[found.user] = stored_attributes(found.attributes)

    def _read_rule(self, record: Record) -> None:
        found = rule_of(record)
        self._is_changed = True
        if isinstance(found, str):
            self._rules.pop(found, None)
            metrics.RULE_APPLICATIONS.remove(found)
        else:
            self._rules[found.name] = found
