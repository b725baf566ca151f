"""The record of an outcome, as other consumers read it.

An outcome is closed once, but it may be written more than once: by a learner that goes on after a kill, and
then the record is equal byte for byte; or by one that went back to an earlier state, and then the later one
holds. The key is the impression's id, so a reader that keeps the last record of each key has each outcome
once. The topic is not compacted: outcomes are without end, and a compacted topic would keep each for ever.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field

from pipeline.bounded import VersionText
from pipeline.events import Finite, Id, Milliseconds, Propensity
from pipeline.state.join_state import ShownImpression

Values = Annotated[tuple[Finite, ...], Field(max_length=1_000)]


class OutcomeRecord(BaseModel):
    """What came of an answer.

    Attributes:
        impression: id of the impression.
        rewards: of each item.
        shown_at: when the impression was appended, in ms by the log's clock.
        snapshot: which ranked the items.
        closed_by: version of the learner with whose batch the window had passed.

    The other fields are those of the impression.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: ClassVar[str] = "outcome"
    version: ClassVar[Literal[1]] = 1

    impression: Id
    user: Id
    items: Annotated[tuple[Id, ...], Field(min_length=1, max_length=1_000)]
    rewards: Values
    shown_at: Milliseconds
    snapshot: Id
    closed_by: VersionText
    policy: Id | None = None
    policy_version: Id | None = None
    propensities: Annotated[tuple[Propensity, ...] | None, Field(max_length=1_000)] = None
    experiment: Id | None = None
    arm: Id | None = None

    @classmethod
    def decode(cls, wire: bytes) -> Self:
        """Read the wire form.

        Raises:
            ValueError: it is none of an outcome.
        """
        fields = orjson.loads(wire)
        if not isinstance(fields, dict) or (fields.pop("v", None), fields.pop("kind", None)) != (1, cls.kind):
            raise ValueError("it is no outcome of version 1")
        return cls.model_validate(fields)


OF_IMPRESSION = ("policy", "policy_version", "propensities", "experiment", "arm")
"""Fields of the impression that are left out where it has none."""


def outcome_record(closed: ShownImpression, closed_by: str) -> tuple[str, bytes]:
    """Return key and value of the record of an impression that a version of the learner has closed."""
    shown = closed.fields
    fields = {
        "v": OutcomeRecord.version,
        "kind": OutcomeRecord.kind,
        "impression": shown["impression_id"],
        "user": shown["user"],
        "items": shown["items"],
        "rewards": closed.rewards,
        "shown_at": closed.shown_at,
        "snapshot": shown["snapshot"],
        "closed_by": closed_by,
        **{name: shown[name] for name in OF_IMPRESSION if shown[name] is not None},
    }
    return shown["impression_id"], orjson.dumps(fields)
