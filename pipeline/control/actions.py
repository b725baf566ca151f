"""The records of what people did at the console: who, what, and why; and that a sign-in ended."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

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


class OperatorAction(ControlRecord):
    """An action that a person asked for; it is appended before the action is tried.

    Attributes:
        by: name of the key that the person signed in with.
        action: what was asked for; `subject` names the version, candidate, policy, rules or reason.
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
