"""Both clients against the real applications: what they ask for, what they send, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr, ValidationError

from consumers.serve.http.app import create_app
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from millstream_client import (
    AnonymousAct,
    AsyncClient,
    Batches,
    Client,
    ClientError,
    Interaction,
    Invalid,
    Item,
    ItemChange,
    NotFound,
    Retries,
    Unauthorized,
    Unavailable,
    User,
)
from pipeline.config import ServeConfig
from pipeline.events import InteractionType
from pipeline.events import Item as EventItem
from pipeline.events import ItemChange as EventItemChange
from pipeline.model.backbone import Backbone
from tests.support.app_transport import AppTransport
from tests.support.gateway_harness import NOW, TOPICS, GatewayHarness
from tests.support.serve_harness import World

SERVER, GATEWAY = "http://server", "http://gateway"
QUICK = Retries(attempts=3, first_pause=0)


class Awaited:
    """An async client whose methods are awaited, so that the same tests use both."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *arguments, **options: asyncio.run(method(*arguments, **options))


Maker = Callable[..., Client]


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Maker:
    """Make a client of either kind on applications."""

    def made(transport: AppTransport, **options: Any) -> Client:
        options = {"retries": QUICK, **options}
        if request.param == "sync":
            return Client(SERVER, GATEWAY + "/", transport=transport, **options)
        return cast(Client, Awaited(AsyncClient(SERVER, GATEWAY + "/", transport=transport, **options)))

    return made


@pytest.fixture(scope="module")
def current(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Iterator[CurrentState]:
    with World(tmp_path_factory.mktemp("shop"), backbone) as shop:
        shop.stock()
        shop.shop()
        shop.act("ann", "red-cup", kind=InteractionType.RATING, value=4.0)
        shop.learn()
        shop.publish()
        with shop.server() as following:
            shop.shown(following)
            yield following


def server(current: CurrentState, **settings: Any) -> FastAPI:
    return create_app(RecommendationService(current, context=5), ServeConfig(**settings))


@pytest.fixture
def client(make: Maker, current: CurrentState) -> Client:
    return make(AppTransport({"server": server(current)}))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayHarness]:
    with GatewayHarness(tmp_path) as harness:
        yield harness


def test_recommendations_obey_every_parameter(client: Client) -> None:
    plain = client.recommend("ann", k=12)
    assert (plain.source, len(plain.items)) == ("model", 12)
    first, second = (shown.item for shown in plain.items[:2])
    fewer = client.recommend("ann", k=12, exclude=[first, second], session="s9")
    assert {first, second}.isdisjoint(shown.item for shown in fewer.items)
    assert first not in {shown.item for shown in client.recommend("ann", exclude=first).items}
    assert {shown.category for shown in client.recommend("ann", category="blue").items} == {"blue"}
    bought = {shown.item for shown in client.recommend("ann", exclude_seen=["purchase"], k=12).items}
    assert bought == {shown.item for shown in client.recommend("ann", exclude_seen=True, k=12).items}
    assert bought < {shown.item for shown in plain.items}
    assert bought != {shown.item for shown in client.recommend("ann", exclude_seen=["like"], k=12).items}
    capped = [shown.category for shown in client.recommend("ann", most_per_category=1, k=12).items]
    assert len(capped) == len(set(capped)) == 3
    assert client.recommend("ann", diversity=1.0, k=12).items != plain.items
    assert plain.items[0].explanation is None


def test_the_context_of_a_request_is_pairs(make: Maker, current: CurrentState) -> None:
    transport = AppTransport({"server": server(current)})
    assert make(transport).recommend("ann", context={"page": "home", "a b": "=&"}).items
    assert transport.requests[0].url.params.get_list("context") == ["page=home", "a b==&"]


def test_an_explanation_sums_to_its_logit(client: Client) -> None:
    (shown,) = client.recommend("ann", k=1, explain=True).items
    assert shown.explanation is not None
    assert sum(shown.explanation.parts.values()) == pytest.approx(shown.explanation.logit, abs=1e-4)
    assert shown.explanation.because is not None


def test_a_history_is_asked_with(client: Client) -> None:
    moment = datetime(2026, 11, 25, 20, tzinfo=UTC)
    history = [AnonymousAct(item="red-cup"), AnonymousAct(item="red-lamp", type="purchase", time=moment)]
    answer = client.recommend_for_history(history, k=2, category=None)
    assert (answer.source, len(answer.items)) == ("model", 2)
    assert client.recommend_for_history([]).reason == "unknown_user"


def test_actions_are_ranked_and_rewards_of_unknown_answers_refused(client: Client) -> None:
    ranking = client.rank("ann", ["blue-cup", "red-cup", "nothing"], session="s9")
    assert {action.item for action in ranking.ranking} == {"blue-cup", "red-cup"}
    assert ranking.left_out == ["nothing"]
    with pytest.raises(NotFound):
        client.reward("no answer", 1.0, item="red-cup")


def test_similar_items_and_the_model_are_asked_for(client: Client) -> None:
    assert len(client.similar("red-cup", k=2).items) == 2
    card = client.model().card
    assert card is not None and card.version == "1-1"
    assert client.readiness().ready


def test_a_rating_is_predicted(client: Client) -> None:
    found = client.rating("ann", "red-cup")
    assert (found.user, found.item, found.known) == ("ann", "red-cup", 1)
    assert 0.5 <= found.rating <= 5
    with pytest.raises(NotFound, match="this item is in neither the catalogue"):
        client.rating("ann", "never")


@pytest.mark.parametrize("user", ["a/b", "a?b=c", "a b%20", "..", ".", "é#1", "a;b&c"])
def test_any_id_reaches_the_server_as_it_is(make: Maker, current: CurrentState, user: str) -> None:
    asked: list[str] = []
    app = server(current)

    @app.middleware("http")
    async def note(request: Any, call_next: Any) -> Any:
        answer = await call_next(request)
        asked.append(request.scope["path_params"]["user"])
        return answer

    assert make(AppTransport({"server": app})).recommend(user).reason == "unknown_user"
    assert asked == [user]


def test_problems_are_errors_of_their_own(client: Client) -> None:
    with pytest.raises(NotFound, match="this item is in neither the catalogue"):
        client.similar("never")
    with pytest.raises(Invalid, match="less than or equal to 200"):
        client.recommend("ann", k=201)


def test_a_server_that_has_not_read_the_log_is_asked_again(make: Maker) -> None:
    transport = AppTransport({"server": server(CurrentState())})
    client = make(transport)
    assert not client.readiness().ready
    with pytest.raises(Unavailable):
        client.recommend("ann")
    assert len(transport.requests) == 1 + QUICK.attempts


def test_keys_are_sent_to_each_service(make: Maker, current: CurrentState, tmp_path: Path) -> None:
    key, other = "k" * 16, "g" * 16
    with GatewayHarness(tmp_path, api_keys=(SecretStr(other),)) as gateway:
        apps = {"server": server(current, api_keys=(SecretStr(key),)), "gateway": gateway.app}
        client = make(AppTransport(apps), key=key, gateway_key=other)
        assert client.recommend("ann").items
        assert client.remove_item("mug").accepted == 1
        with pytest.raises(Unauthorized):
            make(AppTransport(apps), key=key).remove_item("mug")
        with pytest.raises(Unauthorized):
            make(AppTransport(apps)).recommend("ann")


def test_a_key_may_have_any_characters_but_line_breaks(make: Maker, current: CurrentState) -> None:
    key = "ключ-日本語-é-0123456"
    apps = {"server": server(current, api_keys=(SecretStr(key),))}
    assert make(AppTransport(apps), key=key).recommend("ann").items
    for broken in ({"key": f"{key}\n"}, {"gateway_key": "a\rb"}):
        with pytest.raises(ClientError, match="line breaks"):
            make(AppTransport(apps), **broken)


def test_events_reach_the_log(make: Maker, gateway: GatewayHarness) -> None:
    client = make(AppTransport({"gateway": gateway.app}))
    assert client.gateway_readiness().ready
    moment = datetime(2026, 9, 21, 10, tzinfo=UTC)
    view = Interaction(user="ann", item="mug", type="view", time=moment, context={"page": 3})
    assert client.send_interactions(view).accepted == 1
    items = [
        Item(item="mug", title="Mug", attributes={"colours": ["red", "blue"], "price": 2.5}),
        ItemChange(item="mug", available=False),
    ]
    assert client.send_items(items).accepted == 2
    assert client.remove_item("a/b").accepted == 1
    assert client.send_users(User(user="ann", attributes={"tier": "gold"})).accepted == 1
    assert client.remove_user("ann").accepted == 1
    gold, gone = gateway.records(TOPICS.users)
    assert (gold.key, gone.key, gone.value) == ("ann", "ann", None)
    (stored,) = gateway.interactions()
    assert (stored.time, stored.context) == (1_789_984_800_000, {"page": 3})
    mug, change, removed = gateway.catalogue()
    assert isinstance(mug, EventItem) and removed == "a/b"
    assert isinstance(change, EventItemChange)
    assert change.model_fields_set == {"item", "available"}


def test_refused_events_are_numbered_through_the_batches(make: Maker, gateway: GatewayHarness) -> None:
    client = make(AppTransport({"gateway": gateway.app}), batches=Batches(events=2))
    users = ["ann", "", "bob", "cyd", ""]
    receipt = client.send_interactions(
        Interaction(user=user, item="mug", type="view", time=NOW) for user in users
    )
    assert receipt.accepted == 3
    assert [(refused.line, refused.field) for refused in receipt.refused] == [(2, "user"), (5, "user")]


def test_a_request_that_is_repeated_counts_once(make: Maker, gateway: GatewayHarness) -> None:
    """The answer to the first of them is lost."""
    transport = LosingTransport({"gateway": gateway.app})
    client = make(transport)
    views = [Interaction(user="ann", item="mug", type="view", time=NOW)] * 2
    assert client.send_interactions(views).accepted == 2
    assert len(transport.requests) == 2
    ids = [event.event_id for event in gateway.interactions()]
    assert len(ids) == 4 and len(set(ids)) == 2


class LosingTransport(AppTransport):
    """Loses the first answer."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if len(self.requests) == 1:
            raise httpx.ReadError("the connection was closed")
        return answer


def test_fields_that_there_are_not_are_refused_here() -> None:
    with pytest.raises(ValidationError):
        Interaction.model_validate({"user": "ann", "item": "mug", "type": "view", "price": 3})
    with pytest.raises(ValidationError):
        Interaction(user="ann", item="mug", type="view", value=float("nan"))


def test_both_close_what_they_opened() -> None:
    with Client() as opened:
        pass
    assert opened._http.is_closed

    async def opened_and_closed() -> bool:
        async with AsyncClient() as opened:
            pass
        return opened._http.is_closed

    assert asyncio.run(opened_and_closed())
