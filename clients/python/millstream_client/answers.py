"""What server and gateway answer; fields that a newer one adds are ignored.

The OpenAPI documents say what each field means. Words of a fixed set are text here, because a newer server
may have more of them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ScoreCause(_Answer):
    """The item of the history without which a recommended item would be lower."""

    item: str
    type: str
    time: int
    score_without: float
    place_without: int


class ScoreExplanation(_Answer):
    """Why an item has its score: `parts` sum to the `logit`; and whether chance gave it its place."""

    logit: float
    parts: dict[str, float]
    companion: str | None
    because: ScoreCause | None
    propensity: float
    explored: bool


class AppliedRule(_Answer):
    """A business rule that acted on an item, and what it added to the item's logit."""

    rule: str
    nats: float


class ShownItem(_Answer):
    """One item of an answer; `explanation` and `rules` are there if they were asked for."""

    item: str
    title: str | None
    category: str | None
    score: float
    explanation: ScoreExplanation | None = None
    rules: list[AppliedRule] | None = None


class _Provenance(_Answer):
    snapshot: str | None
    learned_through: int | None
    offsets: dict[str, int]
    staleness_seconds: float
    log_away_seconds: float


class Recommendations(_Provenance):
    """Items, best first, and what they are based on.

    Send `impression` with the interactions that follow. `exact` says whether it is certain that no other item
    belongs into the list.
    """

    items: list[ShownItem]
    source: str
    reason: str | None
    exact: bool
    impression: str | None


class PredictedRating(_Provenance):
    """The rating that a user would give an item, from so many known ratings of the user."""

    user: str
    item: str
    rating: float
    known: int


class RankedAction(_Answer):
    """An action with its rank."""

    item: str
    score: float


class Ranking(_Provenance):
    """Actions, best first; send the reward to `event_id`."""

    event_id: str | None
    ranking: list[RankedAction]
    left_out: list[str]


class RewardedAct(_Answer):
    """The act that a reward has become."""

    event_id: str
    item: str
    type: str


class SnapshotCard(_Answer):
    """The served snapshot."""

    version: str
    kind: str
    parent: str | None
    reason: str
    digest: str
    published_at: int
    events: int
    rows: int
    backbone: str
    quality: dict[str, dict[str, dict[str, float | None]]]


class RefusedSnapshot(_Answer):
    """A snapshot that the server must not serve, and why."""

    version: str
    reason: str


class ModelCard(_Provenance):
    """The served snapshot, and what the server has read since."""

    card: SnapshotCard | None
    refused: RefusedSnapshot | None
    items: int
    users: int
    unlearned: int
    pending_texts: int


class Readiness(_Answer):
    """Whether the server has read the log to its end once, and what is wrong."""

    ready: bool
    snapshot: str | None
    refused: RefusedSnapshot | None
    degraded: str | None


class GatewayReadiness(_Answer):
    """Whether the gateway can make events durable now."""

    ready: bool


class RefusedLine(_Answer):
    """An event that was refused: its number among those of the call, from 1 on, and why."""

    line: int
    field: str
    reason: str
    code: str


class Receipt(_Answer):
    """How many events are durable now, and which were refused."""

    accepted: int
    refused: list[RefusedLine]

    def followed_by(self, later: Receipt, earlier_lines: int) -> Receipt:
        """Add the receipt of a later request, whose lines are numbered after so many earlier ones."""
        moved = [line.model_copy(update={"line": earlier_lines + line.line}) for line in later.refused]
        return Receipt(accepted=self.accepted + later.accepted, refused=self.refused + moved)
