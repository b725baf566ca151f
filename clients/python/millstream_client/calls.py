"""Every request that the client makes, as data, and how its answer is read; nothing here sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from millstream_client.answers import (
    GatewayReadiness,
    ModelCard,
    PredictedRating,
    Ranking,
    Readiness,
    Receipt,
    Recommendations,
    RewardedAct,
)
from millstream_client.events import (
    AnonymousAct,
    Attributes,
    InteractionType,
    RankingRequest,
    RewardRequest,
    Sent,
)

T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=BaseModel)
Service = Literal["server", "gateway"]
Pairs = tuple[tuple[str, str], ...]
INTERACTIONS, ITEMS, USERS = "/v1/interactions", "/v1/items", "/v1/users"
JSON, NDJSON = "application/json", "application/x-ndjson"
IN_HEADERS = "".join(map(chr, range(0x20, 0x7F)))
"""The characters that a header may have; all others are escaped."""


class AnswerQuery(TypedDict, total=False):
    """What may be asked of any list of items; what is left out, or None, is as the server's settings say."""

    k: int | None
    exclude: Sequence[str]
    exclude_seen: bool | Sequence[InteractionType]
    category: str | None
    diversity: float | None
    most_per_category: int | None
    exclude_shown_minutes: float | None
    explain: bool
    record: bool
    context: Mapping[str, str]


class SessionQuery(AnswerQuery, total=False):
    """The same, and the user's current session."""

    session: str | None


@dataclass(frozen=True)
class Call(Generic[T_co]):
    """A request, and how its answer is read.

    Attributes:
        service: which of the two servers is asked.
        read: an answer's body, in JSON.
        errors_read: statuses of errors whose body is an answer, too.
    """

    service: Service
    method: str
    path: str
    read: Callable[[bytes], T_co]
    params: Pairs = ()
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    errors_read: frozenset[int] = frozenset()


def recommend(user: str, query: SessionQuery) -> Call[Recommendations]:
    """Ask what a user is most likely to act on next."""
    return _get(f"/v1/users/{_part(user)}/recommendations", Recommendations, query)


def recommend_for_history(
    history: Iterable[AnonymousAct], query: SessionQuery, attributes: Attributes | None = None
) -> Call[Recommendations]:
    """Ask what somebody with this history, and these attributes, is most likely to act on next."""
    of_whom = b',"attributes":%s' % json.dumps(attributes).encode() if attributes else b""
    body = b'{"history":[%s]%s}' % (b",".join(act.wire() for act in history), of_whom)
    read = Recommendations.model_validate_json
    return Call("server", "POST", "/v1/recommendations", read, _pairs(query), body, {"Content-Type": JSON})


def rank(user: str, actions: Iterable[str], session: str | None, shown: int) -> Call[Ranking]:
    """Ask in which order to show actions to a user."""
    request = RankingRequest(user=user, actions=list(actions), session=session, shown=shown)
    return _post("/v1/rank", request, Ranking)


def reward(event_id: str, reward: float, item: str | None) -> Call[RewardedAct]:
    """Tell what came of an answer."""
    body = RewardRequest(reward=reward, item=item)
    return _post(f"/v1/events/{_part(event_id)}/reward", body, RewardedAct)


def similar(item: str, query: AnswerQuery) -> Call[Recommendations]:
    """Ask for the items that are closest to another."""
    return _get(f"/v1/items/{_part(item)}/similar", Recommendations, query)


def rating(user: str, item: str) -> Call[PredictedRating]:
    """Ask which rating a user would give an item."""
    return _get(f"/v1/users/{_part(user)}/ratings/{_part(item)}", PredictedRating)


def model() -> Call[ModelCard]:
    """Ask for the snapshot that is served."""
    return _get("/v1/model", ModelCard)


def readiness() -> Call[Readiness]:
    """Ask whether the server has read the log."""
    return Call("server", "GET", "/readyz", Readiness.model_validate_json, errors_read=frozenset({503}))


def gateway_readiness() -> Call[GatewayReadiness]:
    """Ask whether the gateway can make events durable."""
    read = GatewayReadiness.model_validate_json
    return Call("gateway", "GET", "/readyz", read, errors_read=frozenset({503}))


def send(path: str, lines: Sequence[bytes], key: str) -> Call[Receipt]:
    """Send events; `key` names the request, so that it counts once however often it is sent."""
    headers = {"Content-Type": NDJSON, "Idempotency-Key": quote(key, safe=IN_HEADERS)}
    read = Receipt.model_validate_json
    return Call("gateway", "POST", path, read, (), b"\n".join(lines), headers, frozenset({422}))


def remove_item(item: str) -> Call[Receipt]:
    """Remove an item from the catalogue."""
    return Call("gateway", "DELETE", f"/v1/items/{_part(item)}", Receipt.model_validate_json)


def remove_user(user: str) -> Call[Receipt]:
    """Remove the attributes of a user."""
    return Call("gateway", "DELETE", f"/v1/users/{_part(user)}", Receipt.model_validate_json)


def _get(path: str, answer: type[M], query: Mapping[str, object] | None = None) -> Call[M]:
    return Call("server", "GET", path, answer.model_validate_json, _pairs(query or {}))


def _post(path: str, body: Sent, answer: type[M]) -> Call[M]:
    headers = {"Content-Type": JSON}
    return Call("server", "POST", path, answer.model_validate_json, (), body.wire(), headers)


def _part(name: str) -> str:
    """Escape a part of a path; whole dots, too, which would be taken for folders."""
    escaped = quote(name, safe="")
    return escaped if escaped.strip(".") else escaped.replace(".", "%2E")


def _pairs(query: Mapping[str, object]) -> Pairs:
    """Write the parameters of a query; a list is repeated, None is left out."""
    return tuple((name, _text(one)) for name, value in query.items() for one in _values(value))


def _values(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from (f"{name}={said}" for name, said in value.items())
    elif isinstance(value, Iterable) and not isinstance(value, str):
        yield from value
    elif value is not None:
        yield value


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
