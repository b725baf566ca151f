"""The records of what people did, at the console or by a command, and why; and that a sign-in ended."""

from __future__ import annotations

import hmac
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr

from pipeline.bounded import Name, Reason
from pipeline.control.records import ControlRecord
from pipeline.events import Milliseconds
from pipeline.sealing import Sha256

ActionName = Literal[
    "pause learning",
    "resume learning",
    "rollback",
    "promote candidate",
    "reject candidate",
    "promote policy",
    "roll back policy",
    "put rules",
    "remove rule",
    "replay dead letters",
    "forget user",
]

PSEUDONYM_DIGITS = 16


def pseudonym(user: str, secret: SecretStr | None) -> str:
    """Return what stands for a user in records that outlive what is forgotten; nothing without a secret.

    Who knows ids, and not the secret, cannot find out whose it is by trying them, as with a plain digest.

    >>> pseudonym("ann", SecretStr("a secret of the settings"))
    'hmac:4f2b0a1dec580737'
    >>> pseudonym("ann", None)
    ''
    """
    if secret is None:
        return ""
    digest = hmac.new(secret.get_secret_value().encode(), f"user {user}".encode(), "sha256").hexdigest()
    return f"hmac:{digest[:PSEUDONYM_DIGITS]}"


class OperatorAction(ControlRecord):
    """An action that a person asked for; it is appended before the action is tried.

    Attributes:
        by: name of the key that the person signed in with.
        action: what was asked for; `subject` names the version, candidate, policy, rules or reason, and a
            user by a `pseudonym`.
        reason: as the person gave it.
        asked_at: wall clock, ms.
    """

    kind: ClassVar[str] = "operator_action"

    v: Literal[1] = 1
    by: Name
    action: ActionName
    subject: Annotated[str, Field(max_length=512)]
    reason: Reason
    asked_at: Milliseconds

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"action-{self.action.replace(' ', '-')}-{self.asked_at}"


class Removal(ControlRecord):
    """A user whose attributes and published history a command has removed.

    Attributes:
        subject: `pseudonym` of the user.
        removed_at: wall clock, ms.
    """

    kind: ClassVar[str] = "removal"

    v: Literal[1] = 1
    subject: Annotated[str, Field(max_length=512)]
    reason: Reason
    removed_at: Milliseconds

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"removal-{self.removed_at}"


class SignOut(ControlRecord):
    """A sign-in at the console that its person ended; all consoles refuse its cookie from then on.

    Attributes:
        session: SHA-256 of what the cookie holds, which it does not reveal.
    """

    kind: ClassVar[str] = "sign_out"
    key_prefix: ClassVar[str] = "sign-out-"

    v: Literal[1] = 1
    session: Sha256

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"{self.key_prefix}{self.session}"
