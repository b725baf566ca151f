"""What is told on the control topic, besides alarms: orders to the learner, and what came of them.

Every record says its ``kind`` and has a key that follows from what it tells, so that a
second telling after a crash is the same telling.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
DecisionOutcome = Literal["promoted", "rejected", "held", "void"]
CandidateName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""Also the name of a folder."""


class ControlRecord(BaseModel):
    """Base of all records of the control topic."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: ClassVar[str]

    @property
    def key(self) -> str:
        """The same whenever the same thing is told."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """The wire form: one JSON object with its ``kind``."""
        return orjson.dumps({"kind": self.kind, **self.model_dump(mode="json")})

    @classmethod
    def decode(cls, wire: bytes) -> Self:
        """Read the wire form.

        Raises:
            pydantic.ValidationError: it is another kind of record, or none.
        """
        fields = orjson.loads(wire)
        return cls.model_validate({name: value for name, value in fields.items() if name != "kind"})


class Promotion(ControlRecord):
    """An order: adopt a candidate.

    Attributes:
        candidate: its name among the model's candidates.
        generation: the one that it was compared with, in which alone the order stands; None
            where a person takes the responsibility.
        ordered_at: wall clock, ms.
    """

    kind: ClassVar[Literal["promotion"]] = "promotion"

    v: Literal[1] = 1
    candidate: CandidateName
    generation: Count | None
    ordered_at: int
    reason: str

    @property
    def key(self) -> str:
        """The same whenever the same order is told."""
        return f"promotion-{self.candidate}-{self.ordered_at}"


class Rollback(ControlRecord):
    """An order: return to what the learner was at an earlier version.

    Attributes:
        version: ``<generation>-<step>``.
        relearn: learn again what came since; else it is folded without gradient.
        generation: the one to be left; the order stands in no other. None for whichever it is.
        ordered_at: wall clock, ms; 0 where the learner orders it by itself.
    """

    kind: ClassVar[Literal["rollback"]] = "rollback"

    v: Literal[1] = 1
    version: Annotated[str, Field(pattern=r"^\d+-\d+$")]
    relearn: bool
    generation: Count | None
    ordered_at: int
    reason: str

    @property
    def key(self) -> str:
        """The same whenever the same order is told."""
        return f"rollback-{self.version}-{self.generation}-{self.ordered_at}"


Order = Promotion | Rollback


class Adoption(ControlRecord):
    """An order was carried out: the learner goes on from another state.

    Attributes:
        order: key of the order.
        version: the first one of the new generation.
        left: the last version before it.
    """

    kind: ClassVar[str] = "adoption"

    v: Literal[1] = 1
    order: str
    version: str
    left: str
    reason: str

    @property
    def key(self) -> str:
        """The same whenever the same adoption is told."""
        return f"adoption-{self.version}"


class Refusal(ControlRecord):
    """An order was not carried out, and why; the learner goes on as it was."""

    kind: ClassVar[str] = "refusal"

    v: Literal[1] = 1
    order: str
    reason: str

    @property
    def key(self) -> str:
        """The same whenever the same order is refused."""
        return f"refusal-{self.order}"


class GateDecision(ControlRecord):
    """What the Gate, or a person, made of a candidate, and what the candidate cost.

    Attributes:
        candidate: its name.
        champion: the version that it was trained from and compared with.
        request: key of the RetrainRequest that it answers, if any: won if it is promoted.
        generation: the one in which it may be promoted.
        outcome: held is for a person to decide; void was overtaken by another adoption.
        reasons: what spoke for a promotion, or against it.
        figures: of the comparison, by name.
        cost: seconds, events trained on, epochs, peak memory in bytes.
        judged_at: wall clock, ms.
    """

    kind: ClassVar[str] = "decision"

    v: Literal[1] = 1
    candidate: CandidateName
    champion: str
    generation: Count
    request: str | None
    outcome: DecisionOutcome
    reasons: list[str]
    figures: dict[str, float]
    cost: dict[str, float]
    decided_at: int

    @property
    def key(self) -> str:
        """The same whenever the same judgement is told."""
        return f"judgement-{self.candidate}-{self.outcome}"


def order_in(wire: bytes) -> Order | None:
    """The order that a record of the control topic is, if it is one.

    Raises:
        ValueError: it is no record of ours.
    """
    kind = orjson.loads(wire)["kind"]
    for order in (Promotion, Rollback):
        if kind == order.kind:
            return order.decode(wire)
    return None
