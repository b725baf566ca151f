"""Schemas of the HTTP interface: bodies of requests and responses, and problems (RFC 9457)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    WithJsonSchema,
)

from consumers.serve.ranking import Reason, Source
from pipeline.event_fields import EventJsonSchema, refuse_seconds, whole
from pipeline.events import Attributes, Finite, Id, InteractionType, Milliseconds

MAX_ACTS = 200
MAX_EXCLUDED = 500
MAX_ACTIONS = 500


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Request(BaseModel):
    # Strict, as events are: "5" and true are not numbers.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class AnonymousAct(_Request):
    """One act of an anonymous history."""

    item: Id
    type: Annotated[InteractionType, Field(strict=False)] = InteractionType.VIEW
    time: Annotated[Milliseconds, AfterValidator(refuse_seconds)] | None = Field(
        None, description="ms since the epoch; defaults to that of the act before it, or to now."
    )
    value: Finite | None = Field(None, description="A measured value: stars, units, seconds.")
    session: Id | None = None


ATTRIBUTES_SCHEMA = TypeAdapter(Attributes).json_schema(schema_generator=EventJsonSchema)
"""With bounded keys, as events have it."""


class AnonymousHistory(_Request):
    """A history sent with the request; it is not stored."""

    history: Annotated[list[AnonymousAct], Field(max_length=MAX_ACTS, description="Oldest first, by time.")]
    attributes: Annotated[Attributes, WithJsonSchema(ATTRIBUTES_SCHEMA)] = Field(
        default_factory=dict,
        description="Of whose history it is, as in a user's record; for rules, and for the model if it reads "
        "attributes of users.",
    )


class ScoreCause(_Response):
    """The item of the history without which a recommended item would be lower."""

    item: str
    type: InteractionType = Field(description="Of the last act on it.")
    time: int = Field(description="Of the last act on it, ms since the epoch.")
    score_without: float = Field(description="The recommended item's score without all acts on this item.")
    place_without: int = Field(description="Its place by score without them, from 1.")


class ScoreExplanation(_Response):
    """Why an item has its score."""

    logit: float = Field(
        description="The scores of two recommended items have the ratio exp(difference of their logits)."
    )
    parts: dict[str, float] = Field(description="What each part adds to the logit; they sum to it.")
    companion: str | None = Field(
        description="The item of the history to which covisitation owes most of what it suggests here."
    )
    because: ScoreCause | None = Field(
        description="null if the item would be no lower without any of the latest items of the history."
    )
    propensity: float = Field(
        description="Probability with which the policy gave the item its place, given those above it and "
        "the places that rules had given; 1 where nothing was drawn."
    )
    explored: bool = Field(description="Whether chance put the item before better ones.")


class AppliedRule(_Response):
    """A business rule that acted on an item."""

    rule: str
    nats: float = Field(description="What it added to the item's logit; 0 if it gave the item its place.")


class ShownItem(_Response):
    """One item of an answer."""

    item: str
    title: str | None = Field(description="null if the item is not in the catalogue.")
    category: str | None
    score: float = Field(
        description="For a recommendation: probability that the next act is on this item, among all "
        "eligible items. For a similar item: cosine of the angle between the two item vectors."
    )
    explanation: ScoreExplanation | None = Field(None, description="Only if the request says explain=true.")
    rules: list[AppliedRule] | None = Field(
        None, description="Business rules that acted on the item; only if the request says explain=true."
    )


class AnswerProvenance(_Response):
    """The snapshot and the records that an answer is based on."""

    snapshot: str | None = Field(
        description="Version of the learned weights; null before the first snapshot."
    )
    learned_through: int | None = Field(
        description="Append time, in ms, of the last record that these weights have learned."
    )
    offsets: dict[str, int] = Field(
        description="topic/partition to the next offset that the server had not read. The same offsets "
        "and snapshot give the same answer, but for what the policy draws."
    )
    staleness_seconds: float = Field(
        description="Age of the oldest interaction that was read but not learned; 0 if there is none."
    )
    log_away_seconds: float = Field(
        description="For how long the event log has not answered, or has been another one than that which "
        "was learned from, so that nothing newer is known; else 0."
    )


class Recommendations(AnswerProvenance):
    """Items in the order to show them: best first, but for rules, diversity and what the policy explores."""

    items: list[ShownItem]
    source: Source
    reason: Reason | None = Field(
        description="Why the items are popular ones: there is no snapshot yet; the user, or every item of "
        "the history, is unknown; the item has neither a text nor learned weights. Or nothing_eligible: "
        "request, rules and times of sale leave out every item."
    )
    exact: bool = Field(
        description="Whether it is certain that no other item belongs into the list. Of a large catalogue, "
        "candidates are ranked, and some answers cannot be certain."
    )
    impression: str | None = Field(
        description="Id to send with the interactions that follow; null if no impression was written."
    )


class PredictedRating(AnswerProvenance):
    """The rating that a user would give an item."""

    user: str
    item: str
    rating: float = Field(
        description="Expected rating, within `learn.ratings.lowest` and `learn.ratings.highest`."
    )
    known: int = Field(
        description="From how many of the user's own ratings it follows; with 0, it is what everyone gives."
    )


class RankingRequest(_Request):
    """Actions to rank for a user."""

    user: Id
    actions: Annotated[
        list[Id], Field(min_length=1, max_length=MAX_ACTIONS, description="Items of the catalogue.")
    ]
    session: Id | None = None
    shown: Annotated[int, BeforeValidator(whole)] = Field(
        1, ge=1, le=MAX_ACTIONS, description="How many are shown, from the top: the impression is of these."
    )


class RankedAction(_Response):
    """An action with its rank."""

    item: str
    score: float = Field(description="Probability that the user acts on it next, among the ranked actions.")


class Ranking(AnswerProvenance):
    """Actions, the one to show first: the best, but for rules and what the policy explores."""

    event_id: str | None = Field(
        description="Id to send the reward to, and with the interactions that follow as their `impression`; "
        "null if no action could be ranked, or no impressions are written."
    )
    ranking: list[RankedAction]
    left_out: list[str] = Field(
        description="Actions that must not be shown: unknown, not available, or left out by a business rule."
    )


class RewardRequest(_Request):
    """What came of an answer."""

    reward: Finite = Field(description="How good it was; 0 or less for nothing.")
    item: Id | None = Field(None, description="The item that it came of; the first by default.")


class RewardedAct(_Response):
    """The act that a reward has become."""

    event_id: str
    item: str
    type: InteractionType


class SnapshotCard(_Response):
    """The served snapshot."""

    version: str
    kind: Literal["full", "delta"]
    parent: str | None
    reason: str
    digest: str
    published_at: int
    events: int = Field(description="Total number of interactions learned or folded.")
    rows: int
    backbone: str = Field(description="Digest of the language model's weights.")
    quality: dict[str, dict[str, dict[str, float | None]]] = Field(
        description="Prequential figures at publication, by scorer, slice and figure."
    )


class RefusedSnapshot(_Response):
    """An announced snapshot that this server must not serve."""

    version: str
    reason: str


class ModelCard(AnswerProvenance):
    """The served snapshot, and what the server has read since."""

    card: SnapshotCard | None
    refused: RefusedSnapshot | None = Field(
        description="The last snapshot refused since the served one was loaded."
    )
    items: int
    users: int
    unlearned: int = Field(description="Interactions read but not learned.")
    pending_texts: int = Field(description="New texts that are not encoded yet.")


class Readiness(_Response):
    """Whether the log was read to its end once, which snapshot is served, and what is wrong."""

    ready: bool
    snapshot: str | None
    refused: RefusedSnapshot | None
    degraded: str | None = Field(
        description="Why nothing newer can be read, so that answers come from memory, with the remedy: the "
        "event log does not answer, or is not the one that was learned from. null while the log is followed."
    )
