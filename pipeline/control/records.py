"""Records of the control topic, besides alarms: orders to the learner, decisions and outcomes.

Every record has a ``kind``, and a key that follows from its content: publishing it a second
time after a crash is idempotent.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pipeline.bounded import Count, Generation, Key, Name, Reason, VersionText
from pipeline.events import Milliseconds
from pipeline.sealing import open_record, seal_record

Figures = Annotated[dict[Name, float], Field(max_length=10_000)]
DecisionOutcome = Literal["promoted", "rejected", "held", "cancelled"]
CandidateName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""Of a candidate; also the name of its folder."""


class ControlRecord(BaseModel):
    """Base of all records of the control topic."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: ClassVar[str]

    @property
    def key(self) -> str:
        """Deterministic key, so that publishing the record a second time is idempotent."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """Return the wire form: one JSON object with its ``kind`` and a seal."""
        return seal_record({"kind": self.kind, **self.model_dump(mode="json")})

    @classmethod
    def decode(cls, wire: bytes) -> Self:
        """Read the wire form.

        Raises:
            ValueError: it is another kind of record, damaged, or not a valid one.
        """
        fields = open_record(wire)
        if fields.pop("kind", None) != cls.kind:
            raise ValueError(f"it is no {cls.kind}")
        return cls.model_validate(fields)


class Promotion(ControlRecord):
    """An order: adopt a candidate.

    Attributes:
        candidate: its name among the model's candidates.
        generation: the one that it was compared in; the order is valid in no other. None if a
            person orders it regardless.
        ordered_at: wall clock, ms; 0 if the Gate orders it.
    """

    kind: ClassVar[Literal["promotion"]] = "promotion"

    v: Literal[1] = 1
    candidate: CandidateName
    generation: Generation | None
    ordered_at: Milliseconds
    reason: Reason

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"promotion-{self.candidate}-{self.ordered_at}"


class Rollback(ControlRecord):
    """An order: return to the state of an earlier version.

    Attributes:
        version: ``<generation>-<step>``.
        relearn: learn the events since that version a second time; else they are folded without
            gradient.
        generation: the one to be left; the order is valid in no other. None for any.
        ordered_at: wall clock, ms; 0 if the learner orders it by itself.
    """

    kind: ClassVar[Literal["rollback"]] = "rollback"

    v: Literal[1] = 1
    version: VersionText
    relearn: bool
    generation: Generation | None
    ordered_at: Milliseconds
    reason: Reason

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`.

        >>> Rollback(version="3-120", relearn=False, generation=4, ordered_at=0, reason="it fell").key
        'rollback-3-120-4-0'
        >>> Rollback(version="3-120", relearn=False, generation=None, ordered_at=9, reason="by hand").key
        'rollback-3-120-9'
        """
        left = "" if self.generation is None else f"{self.generation}-"
        return f"rollback-{self.version}-{left}{self.ordered_at}"


class Pause(ControlRecord):
    """An order of a person: learn nothing new until a `Resume`. Other orders are carried out meanwhile.

    Attributes:
        ordered_at: wall clock, ms.
    """

    kind: ClassVar[Literal["pause"]] = "pause"

    v: Literal[1] = 1
    ordered_at: Milliseconds
    reason: Reason

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"pause-{self.ordered_at}"


class Resume(ControlRecord):
    """An order of a person: learn on after a `Pause`.

    Attributes:
        ordered_at: wall clock, ms.
    """

    kind: ClassVar[Literal["resume"]] = "resume"

    v: Literal[1] = 1
    ordered_at: Milliseconds
    reason: Reason

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"resume-{self.ordered_at}"


AdoptionOrder = Promotion | Rollback
"""What makes the learner go on from another state."""
Order = AdoptionOrder | Pause | Resume
"""What the learner obeys."""


def is_by_person(order: str) -> bool:
    """Return whether the order with this key was given by a person, at some time of the wall clock.

    >>> is_by_person("rollback-3-120-4-1760000000000"), is_by_person("rollback-3-120-4-0")
    (True, False)
    """
    return order.rpartition("-")[2] != "0"


class Adoption(ControlRecord):
    """An order that was carried out: the learner went on from another state.

    Attributes:
        order: key of the order.
        version: the first one of the new generation.
        left: the last version before it.
    """

    kind: ClassVar[str] = "adoption"

    v: Literal[1] = 1
    order: Key
    version: VersionText
    left: VersionText
    reason: Reason

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"adoption-{self.version}"


class Gap(ControlRecord):
    """A gap in the log that was accepted: the learner went on after it with the same state.

    Attributes:
        version: the first one of the new generation.
        left: the last version before it.
        lost: number of records that the log lost before they were learned; not those of a topic that was
            made again, which nobody knows.
        reason: what was lost, by partition or topic.
    """

    kind: ClassVar[str] = "gap"

    v: Literal[1] = 1
    version: VersionText
    left: VersionText
    lost: Count
    reason: Reason

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"gap-{self.version}"


class Refusal(ControlRecord):
    """An order that was not carried out, and why; the learner went on as it was."""

    kind: ClassVar[str] = "refusal"

    v: Literal[1] = 1
    order: Key
    reason: Reason

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"refusal-{self.order}"


class GateDecision(ControlRecord):
    """The decision of the Gate, or of a person, on a candidate, and what the candidate cost.

    Attributes:
        candidate: its name.
        champion: the version that it was trained from and compared with.
        generation: the one in which it may be promoted.
        request: key of the RetrainRequest that it answers, if any.
        outcome: held for a person to decide; cancelled because champion or events are gone.
        reasons: for a promotion, or against it.
        figures: of the comparison, by name.
        cost: seconds, events trained on, epochs, peak memory in bytes.
        decided_at: wall clock, ms.
    """

    kind: ClassVar[str] = "decision"

    v: Literal[1] = 1
    candidate: CandidateName
    champion: VersionText
    generation: Generation
    request: Key | None
    outcome: DecisionOutcome
    reasons: Annotated[list[Reason], Field(max_length=1_000)]
    figures: Figures
    cost: Figures
    decided_at: Milliseconds

    @property
    def key(self) -> str:
        """Deterministic key; see `ControlRecord`."""
        return f"decision-{self.candidate}-{self.outcome}"


def order_in(wire: bytes) -> Order | None:
    """Decode a record of the control topic if it is an order; return None for another kind.

    Raises:
        ValueError: it is not a valid record.
    """
    kind = open_record(wire).get("kind")
    if not isinstance(kind, str):
        raise ValueError("it has no kind")
    for order in (Promotion, Rollback, Pause, Resume):
        if kind == order.kind:
            return order.decode(wire)
    return None
