"""The client for programs that run on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Self, TypeVar, Unpack

import httpx

from millstream_client import calls
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
from millstream_client.calls import INTERACTIONS, ITEMS, USERS, AnswerQuery, Call, SessionQuery
from millstream_client.connection import GATEWAY, SERVER, Connection, Options
from millstream_client.events import AnonymousAct, Attributes, Interaction, Item, ItemChange, User
from millstream_client.exchange import Attempt, Exchange, Outcome

T = TypeVar("T")


class AsyncClient:
    """Asks the server and sends to the gateway; for one event loop.

    Every method raises a `ClientError` where it gets no answer.
    """

    def __init__(
        self,
        server: str = SERVER,
        gateway: str = GATEWAY,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._connection = Connection(server, gateway, **options)
        self._http = httpx.AsyncClient(transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def recommend(self, user: str, **query: Unpack[SessionQuery]) -> Recommendations:
        """Return what a user is most likely to act on next."""
        return await self._ask(calls.recommend(user, query))

    async def recommend_for_history(
        self,
        history: Iterable[AnonymousAct],
        attributes: Attributes | None = None,
        **query: Unpack[SessionQuery],
    ) -> Recommendations:
        """Return what somebody with this history, oldest first, is most likely to act on next.

        `attributes` are those of whose history it is, as of a user.
        """
        return await self._ask(calls.recommend_for_history(history, query, attributes))

    async def similar(self, item: str, **query: Unpack[AnswerQuery]) -> Recommendations:
        """Return the items that are closest to another."""
        return await self._ask(calls.similar(item, query))

    async def rating(self, user: str, item: str) -> PredictedRating:
        """Predict the rating that a user would give an item."""
        return await self._ask(calls.rating(user, item))

    async def rank(
        self, user: str, actions: Iterable[str], session: str | None = None, shown: int = 1
    ) -> Ranking:
        """Rank actions, which are items, for a user; the first ones are shown, so many as `shown` says."""
        return await self._ask(calls.rank(user, actions, session, shown))

    async def reward(self, event_id: str, reward: float, item: str | None = None) -> RewardedAct:
        """Tell what came of an answer, by the `event_id` of a ranking; it counts once."""
        return await self._ask(calls.reward(event_id, reward, item))

    async def model(self) -> ModelCard:
        """Return the snapshot that is served, and what was read since."""
        return await self._ask(calls.model())

    async def readiness(self) -> Readiness:
        """Return whether the server has read the log, and what is wrong."""
        return await self._ask(calls.readiness())

    async def gateway_readiness(self) -> GatewayReadiness:
        """Return whether the gateway can make events durable."""
        return await self._ask(calls.gateway_readiness())

    async def send_interactions(
        self, events: Interaction | Iterable[Interaction], *, idempotency_key: str | None = None
    ) -> Receipt:
        """Send one interaction or many; look at `refused` of the receipt.

        Give an `idempotency_key` of your own where the call itself may be repeated, with the same events.
        """
        return await self._run(self._connection.send(INTERACTIONS, events, idempotency_key))

    async def send_items(self, items: Item | ItemChange | Iterable[Item | ItemChange]) -> Receipt:
        """Send items and changes of items, one or many; look at `refused` of the receipt."""
        return await self._run(self._connection.send(ITEMS, items))

    async def remove_item(self, item: str) -> Receipt:
        """Remove an item from the catalogue; one that is not there, too."""
        return await self._ask(calls.remove_item(item))

    async def send_users(self, users: User | Iterable[User]) -> Receipt:
        """Send what business rules may know of users, one or many; look at `refused` of the receipt."""
        return await self._run(self._connection.send(USERS, users))

    async def remove_user(self, user: str) -> Receipt:
        """Remove the attributes of a user; what the user did is kept."""
        return await self._ask(calls.remove_user(user))

    async def _ask(self, call: Call[T]) -> T:
        return await self._run(self._connection.ask(call))

    async def _run(self, steps: Exchange[T]) -> T:
        try:
            attempt = next(steps)
            while True:
                attempt = steps.send(await self._outcome(attempt))
        except StopIteration as done:
            answer: T = done.value
            return answer

    async def _outcome(self, attempt: Attempt) -> Outcome:
        await asyncio.sleep(attempt.pause)
        try:
            return await self._http.send(self._connection.request(attempt.call))
        except httpx.TransportError as error:
            return error
