"""Changes of the policy that servers use: records of a compacted topic, each under a key of its own."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.bounded import Name, Reason, fault_of
from pipeline.config.policy import PolicyLabel, PolicyParameters
from pipeline.errors import InvalidEvent
from pipeline.events import Finite, Milliseconds
from pipeline.sealing import open_record, seal_record

MOST_CHANGES = 1_000
"""Promotions that a rollback can still reach."""


class PolicyChange(BaseModel):
    """A promotion of a policy, or the return from the latest one to what was used before.

    Attributes:
        policy: name of the policy that is promoted, or that is left.
        parameters: of the promoted one, so that servers need not have it in their settings.
        ends: name of the experiment that ran, which has no control any more.
        figures: that it was promoted for; none if a person decided.
        changed_at: wall clock, ms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    verb: Literal["promotion", "rollback"]
    policy: PolicyLabel
    parameters: PolicyParameters
    ends: Annotated[str, Field(max_length=64)] = ""
    reason: Reason
    figures: Annotated[dict[Name, Finite], Field(max_length=32)] = Field(default_factory=dict)
    changed_at: Milliseconds

    @property
    def key(self) -> str:
        """Distinct keys, so that compaction keeps every change."""
        return f"{self.verb}-{self.policy}-{self.changed_at}"

    def encode(self) -> bytes:
        """Return the wire form: one JSON object with a seal."""
        return seal_record(self.model_dump(mode="json"))

    @classmethod
    def decode(cls, wire: bytes) -> Self:
        """Read the wire form.

        Raises:
            InvalidEvent: it is damaged, or no change of the policy.
        """
        try:
            return cls.model_validate(open_record(wire))
        except ValueError as error:
            raise InvalidEvent("record", f"no change of the policy: {fault_of(error)}") from None


class PolicyChanges:
    """The changes so far, oldest first.

    Attributes:
        all: every change.
    """

    def __init__(self) -> None:
        self.all: list[PolicyChange] = []
        self._promotions: list[PolicyChange] = []

    def add(self, change: PolicyChange) -> None:
        """Add the next change.

        A rollback leaves what it names. Where that is not in use, because its promotion was damaged or is
        left already, all stays as it is.
        """
        self.all = [*self.all[1 - MOST_CHANGES :], change]
        used = self.in_use
        if change.verb == "promotion":
            self._promotions = [*self._promotions[1 - MOST_CHANGES :], change]
        elif used and (used.policy, used.parameters) == (change.policy, change.parameters):
            self._promotions.pop()

    @property
    def in_use(self) -> PolicyChange | None:
        """The promotion of the policy that is used; None if it is that of the settings."""
        return self._promotions[-1] if self._promotions else None

    def control_of(self, experiment: str) -> PolicyChange | None:
        """Return the promotion that gives an experiment its control: the latest that did not end it."""
        return next((one for one in reversed(self._promotions) if one.ends != experiment), None)
