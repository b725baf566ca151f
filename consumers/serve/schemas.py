"""What the server says and hears: bodies of requests and answers, and problems (RFC 9457)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from consumers.serve.ranking import Reason, Source
from pipeline.events import Finite, Id, InteractionType, Milliseconds

MOST_ACTS = 200
MOST_EXCLUDED = 500


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Heard(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GivenAct(_Heard):
    """An act of somebody whom the log does not know."""

    item: Id
    type: InteractionType = InteractionType.VIEW
    time: Milliseconds | None = Field(
        None, description="ms since the epoch; that of the act before if absent."
    )
    value: Finite | None = Field(None, description="What it measured: stars, units, seconds.")
    session: Id | None = None


class AnonymousHistory(_Heard):
    """A history in the request; nothing of it is kept."""

    history: Annotated[list[GivenAct], Field(max_length=MOST_ACTS, description="Oldest first.")]


class ShownItem(_Said):
    """One item of an answer."""

    item: str
    title: str | None = Field(description="null where the catalogue says nothing of the item.")
    category: str | None
    score: float = Field(
        description="Of a recommendation, the probability that the next act is on this item among all "
        "that were eligible; of a similar item, the cosine of the angle between their vectors."
    )


class AnswerProvenance(_Said):
    """What an answer is based on."""

    snapshot: str | None = Field(description="Version of the learned weights; null before the first.")
    learned_through: int | None = Field(description="Append time, in ms, of the last record they learned.")
    offsets: dict[str, int] = Field(
        description="topic/partition to the next offset that the answer had not read: same offsets and "
        "snapshot, same answer."
    )
    staleness_seconds: float = Field(
        description="Age of the oldest interaction that was read but not learned; 0 if there is none."
    )


class Recommendations(AnswerProvenance):
    """Items, best first."""

    items: list[ShownItem]
    source: Source
    reason: Reason | None = Field(
        description="Why the items are merely popular: there is no snapshot yet; nothing is known of the "
        "user or of any item in the history; the item has neither a text nor anything learned."
    )
    impression: str | None = Field(
        description="Id to send with the interactions that follow; null where no impression was written."
    )


class SnapshotCard(_Said):
    """The snapshot that is served."""

    version: str
    kind: Literal["full", "delta"]
    parent: str | None
    reason: str
    digest: str
    published_at: int
    events: int = Field(description="Interactions learned or folded, ever.")
    rows: int
    backbone: str = Field(description="Digest of the language model's weights.")
    quality: dict[str, dict[str, dict[str, float | None]]] = Field(
        description="Prequential figures by scorer, slice and figure, when it was published."
    )


class RefusedSnapshot(_Said):
    """A snapshot that was announced and is not fit to be served."""

    version: str
    reason: str


class ModelCard(AnswerProvenance):
    """What is served, and what the server has read since."""

    card: SnapshotCard | None
    refused: RefusedSnapshot | None = Field(description="Since the last snapshot was taken.")
    items: int
    users: int
    unlearned: int = Field(description="Interactions read but not learned.")
    pending_texts: int = Field(description="New texts that wait to be encoded.")


class Health(_Said):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(_Said):
    """Whether the log was read to its end once, and what is served."""

    ready: bool
    snapshot: str | None
    refused: RefusedSnapshot | None


class Problem(_Said):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
