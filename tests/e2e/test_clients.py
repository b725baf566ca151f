"""The clients' afternoon: a catalogue, events and answers, against real daemons on one machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
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
from pipeline.events import Interaction as LoggedInteraction
from pipeline.events import InteractionType
from tests.support.documents import ROOT
from tests.support.serve_tools import wait_until
from tests.support.tiny_backbone import tiny_backbone

PATIENCE_SECONDS = 120.0
USERS, ROUNDS = 20, 12
COLOURS, THINGS = ("red", "blue"), ("cup", "plate", "lamp", "bowl")
ITEMS = [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS]
ACTS = [
    Interaction(user=f"user-{user}", item=f"{COLOURS[user % 2]}-{THINGS[number % 4]}", type="view")
    for number in range(ROUNDS)
    for user in range(USERS)
]
NPM_SECONDS = 300


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


def open_shop(client: Client) -> None:
    """Send catalogue and events, and wait until they are learned."""
    wait_until(lambda: is_ready(client), PATIENCE_SECONDS)
    receipt = client.send_items(Item(item=item, title=item.replace("-", " ")) for item in ITEMS)
    assert receipt.accepted == len(ITEMS)
    assert client.send_interactions(ACTS).accepted == len(ACTS)
    wait_until(lambda: client.recommend("user-0").source == "model", PATIENCE_SECONDS)


def test_a_shop_uses_the_python_client(settings: Settings, running: tuple[str, str]) -> None:
    with Client(*running) as client:
        open_shop(client)
        client.send_items(ItemChange(item=ITEMS[0], available=False))
        wait_until(lambda: ITEMS[0] not in shown(client, "user-0"), PATIENCE_SECONDS)
        client.remove_item(ITEMS[1])
        wait_until(lambda: ITEMS[1] not in shown(client, "user-0"), PATIENCE_SECONDS)
        answer = client.recommend("user-0", explain=True)
        assert answer.impression is not None
        assert answer.items[0].explanation is not None
        followed = Interaction(
            user="user-0", item=answer.items[0].item, type="click", impression=answer.impression
        )
        assert client.send_interactions(followed).accepted == 1
    assert asyncio.run(asked_at_once(*running)) == {"model"}
    stored = interactions(settings)
    assert len(stored) == len({event.event_id for event in stored}) == len(ACTS) + 1


@pytest.fixture
def typescript(tmp_path: Path) -> Path:
    """A copy of the TypeScript client, for npm to build in; under CI, npm must be there."""
    if shutil.which("npm") is None:
        reason = "no TypeScript client: npm not found (Node 20 or newer)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    made = shutil.ignore_patterns("node_modules", "dist", "generated")
    shutil.copytree(ROOT / "docs" / "schemas", tmp_path / "docs" / "schemas")
    return shutil.copytree(ROOT / "clients" / "typescript", tmp_path / "clients" / "typescript", ignore=made)


def npm(folder: Path, *arguments: str) -> str:
    """Run npm; what it printed."""
    done = subprocess.run(
        ["npm", *arguments], cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_typescript_client_is_built_and_its_example_runs(
    settings: Settings, running: tuple[str, str], typescript: Path
) -> None:
    with Client(*running) as client:
        open_shop(client)
    npm(typescript, "ci", "--no-audit", "--no-fund")
    npm(typescript, "run", "build")
    npm(typescript, "test")
    printed = npm(typescript, "run", "--silent", "example", "--", *running, "user-0").splitlines()
    *items, basis, accepted, refused = printed
    assert len(items) == 5
    assert basis.startswith("by model, snapshot 1-")
    assert accepted == "1 accepted"
    assert refused.startswith("404 this item is in neither the catalogue")
    click = interactions(settings)[-1]
    assert (click.user, click.type) == ("user-0", InteractionType.CLICK)
    assert click.impression is not None


def interactions(settings: Settings) -> list[LoggedInteraction]:
    """All that are in the log, in the order of their times."""
    with closing(open_log(settings.log.url)) as event_log:
        topic = Topics(settings.log.prefix).interactions
        stored = [interaction_of(record) for record in read(event_log, topic)]
    return sorted(stored, key=lambda event: event.time)


def shown(client: Client, user: str) -> set[str]:
    return {one.item for one in client.recommend(user, k=len(COLOURS) * len(THINGS)).items}


async def asked_at_once(server: str, gateway: str) -> set[str]:
    """What ranks the items of all users."""
    async with AsyncClient(server, gateway) as client:
        answers = await asyncio.gather(*(client.recommend(f"user-{user}") for user in range(USERS)))
    return {answer.source for answer in answers}
