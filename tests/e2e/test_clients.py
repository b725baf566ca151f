"""The Python client's afternoon: a catalogue, events and answers, against real daemons on one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from millstream_client import AsyncClient, Client, ClientError, Interaction, Item, ItemChange
from pipeline.config import Settings
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of
from pipeline.eventlog.port import read
from pipeline.eventlog.topics import Topics
from tests.support.serve_tools import wait_until
from tests.support.tiny_backbone import tiny_backbone

PATIENCE_SECONDS = 120.0
USERS, ROUNDS = 20, 12
COLOURS, THINGS = ("red", "blue"), ("cup", "plate", "lamp", "bowl")


@pytest.fixture
def log_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A language model that is made in milliseconds."""
    return {
        **environment,
        "MILLSTREAM_GATEWAY__PORT": str(free_port()),
        "MILLSTREAM_MODEL__BACKBONE": str(tiny_backbone(tmp_path / "backbone")),
        "MILLSTREAM_MODEL__CACHE": str(tmp_path / "cache"),
    }


@pytest.fixture
def running(settings: Settings, daemons: Daemons) -> Iterator[tuple[str, str]]:
    """URLs of server and gateway, beside a learner."""
    with closing(open_log(settings.log.url)) as event_log:
        Topics(settings.log.prefix).create(event_log, *settings.log.topic_sizes)
    for daemon in ("gateway", "learn", "serve"):
        daemons.start(daemon)
    yield f"http://127.0.0.1:{settings.serve.port}", f"http://127.0.0.1:{settings.gateway.port}"
    daemons.check("gateway", "learn", "serve")


def is_ready(client: Client) -> bool:
    try:
        return client.readiness().ready and client.gateway_readiness().ready
    except ClientError:
        return False


def test_a_shop_uses_the_client(settings: Settings, running: tuple[str, str]) -> None:
    items = [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS]
    acts = [
        Interaction(user=f"user-{user}", item=f"{COLOURS[user % 2]}-{THINGS[number % 4]}", type="view")
        for number in range(ROUNDS)
        for user in range(USERS)
    ]
    with Client(*running) as client:
        wait_until(lambda: is_ready(client), PATIENCE_SECONDS)
        receipt = client.send_items(Item(item=item, title=item.replace("-", " ")) for item in items)
        assert receipt.accepted == len(items)
        assert client.send_interactions(acts).accepted == len(acts)
        wait_until(lambda: client.model().card is not None, PATIENCE_SECONDS)
        wait_until(lambda: client.recommend("user-0").source == "model", PATIENCE_SECONDS)
        client.send_items(ItemChange(item=items[0], available=False))
        wait_until(lambda: items[0] not in shown(client, "user-0"), PATIENCE_SECONDS)
        client.remove_item(items[1])
        wait_until(lambda: items[1] not in shown(client, "user-0"), PATIENCE_SECONDS)
        answer = client.recommend("user-0", explain=True)
        assert answer.impression is not None
        assert answer.items[0].explanation is not None
        followed = Interaction(
            user="user-0", item=answer.items[0].item, type="click", impression=answer.impression
        )
        assert client.send_interactions(followed).accepted == 1
    assert asyncio.run(asked_at_once(*running)) == {"model"}
    with closing(open_log(settings.log.url)) as event_log:
        stored = [
            interaction_of(record) for record in read(event_log, Topics(settings.log.prefix).interactions)
        ]
    assert len(stored) == len({event.event_id for event in stored}) == len(acts) + 1


def shown(client: Client, user: str) -> set[str]:
    return {one.item for one in client.recommend(user, k=len(COLOURS) * len(THINGS)).items}


async def asked_at_once(server: str, gateway: str) -> set[str]:
    """What ranks the items of all users."""
    async with AsyncClient(server, gateway) as client:
        answers = await asyncio.gather(*(client.recommend(f"user-{user}") for user in range(USERS)))
    return {answer.source for answer in answers}
