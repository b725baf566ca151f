"""A typed client of millstream's server and gateway, sync (`Client`) and async (`AsyncClient`)."""

from millstream_client.answers import (
    AppliedRule,
    GatewayReadiness,
    ModelCard,
    RankedAction,
    Ranking,
    Readiness,
    Receipt,
    Recommendations,
    RefusedLine,
    RefusedSnapshot,
    RewardedAct,
    ScoreCause,
    ScoreExplanation,
    ShownItem,
    SnapshotCard,
)
from millstream_client.async_client import AsyncClient
from millstream_client.batches import Batches
from millstream_client.calls import AnswerQuery, SessionQuery
from millstream_client.client import Client
from millstream_client.errors import (
    Busy,
    ClientError,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from millstream_client.events import AnonymousAct, Interaction, InteractionType, Item, ItemChange, User
from millstream_client.retries import Retries

__all__ = [
    "AnonymousAct",
    "AnswerQuery",
    "AppliedRule",
    "AsyncClient",
    "Batches",
    "Busy",
    "Client",
    "ClientError",
    "Forbidden",
    "GatewayReadiness",
    "Interaction",
    "InteractionType",
    "Invalid",
    "Item",
    "ItemChange",
    "ModelCard",
    "NotFound",
    "Problem",
    "RankedAction",
    "Ranking",
    "Readiness",
    "Receipt",
    "Recommendations",
    "RefusedLine",
    "RefusedSnapshot",
    "Retries",
    "RewardedAct",
    "ScoreCause",
    "ScoreExplanation",
    "SessionQuery",
    "ShownItem",
    "SnapshotCard",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "User",
]
