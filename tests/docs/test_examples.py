"""The examples do what they say, each against the real thing."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from fastapi import FastAPI

from consumers.serve.http.app import create_app
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from examples import async_client as async_example
from examples import client as client_example
from examples import producer as producer_example
from pipeline.config import ServeConfig, load_settings
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of, item_of
from pipeline.eventlog.port import read
from pipeline.eventlog.topics import Topics
from pipeline.events import InteractionType, Item
from pipeline.model.backbone import Backbone
from pipeline.rules.files import read_rules
from pipeline.rules.rule import KINDS, decode_rule, encode_rule
from tests.support.documents import ROOT
from tests.support.gateway_harness import NOW, GatewayHarness
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until

LOCAL = "127.0.0.1"


def answering(current: CurrentState, settings: ServeConfig) -> AbstractContextManager[str]:
    """A real HTTP server of recommendations; its URL."""
    return listening(create_app(RecommendationService(current, context=5), settings))


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """A real HTTP server in a thread; its URL."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.create_server((LOCAL, 0)) as opened:
        thread = Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://{LOCAL}:{opened.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("shop"), backbone) as made:
        made.open()
        yield made


@pytest.fixture(scope="module")
def current(shop: World) -> Iterator[CurrentState]:
    with shop.server() as following:
        shop.shown(following)
        yield following


def test_the_sample_settings_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_CONFIG", str(ROOT / "examples" / "millstream.toml"))
    settings = load_settings()
    assert (settings.log.prefix, settings.log.partitions) == ("shop", 16)
    assert (settings.serve.host, settings.serve.port) == (LOCAL, 8000)


def test_the_producer_writes_what_a_learner_reads(
    log_url: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = Topics(prefix)
    with closing(open_log(log_url)) as log:
        topics.create(log, partitions=2, retention_ms=3_600_000, compaction_lag_ms=60_000)
        producer_example.main(log_url, prefix)
        (item,) = map(item_of, read(log, topics.items))
        (bought,) = map(interaction_of, read(log, topics.interactions))
    assert isinstance(item, Item)
    assert (bought.user, bought.item, item.title) == ("17850", item.item, "White enamel mug")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_client_is_a_program(
    current: CurrentState, shop: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(current, shop.settings.serve) as url:
        client_example.main(url, "ann")
    *shown, basis = capsys.readouterr().out.splitlines()
    assert len(shown) == 5
    assert basis.startswith("by model, snapshot 1-1")


def test_the_sample_rules_have_every_action() -> None:
    rules = read_rules(ROOT / "examples" / "rules.toml")
    assert {rule.action for rule in rules} == set(KINDS) - {"keep"}
    assert decode_rule(encode_rule(rules[0])) == rules[0]


def test_the_client_sends_a_click(
    current: CurrentState,
    shop: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 1_000_000)  # the gateway's clock
    with (
        GatewayHarness(tmp_path) as gateway,
        answering(current, shop.settings.serve) as url,
        listening(gateway.app) as gateway_url,
    ):
        client_example.main(url, "ann", gateway_url)
        (click,) = gateway.interactions()
    *_, sent = capsys.readouterr().out.splitlines()
    assert sent == "1 accepted"
    assert (click.user, click.type) == ("ann", InteractionType.CLICK)


def test_the_async_client_asks_for_many(
    current: CurrentState, shop: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(current, shop.settings.serve) as url:
        asyncio.run(async_example.main(url, "ann", "nobody"))
    ann, nobody = capsys.readouterr().out.splitlines()
    assert ann.startswith("ann ") and ann.endswith("by model")
    assert nobody.startswith("nobody ") and nobody.endswith("by popular")


def test_every_example_is_tested() -> None:
    files = {file.name for file in Path(ROOT / "examples").iterdir() if not file.name.startswith("_")}
    assert files == {
        *("millstream.toml", "producer.py", "client.py", "async_client.py", "rules.toml", "cookbook")
    }
