"""The examples do what they say, each against the real thing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from pydantic import SecretStr

from consumers.serve.http.app import create_app
from consumers.serve.service import RecommendationService
from consumers.serve.state.current import CurrentState
from examples import client as client_example
from examples import producer as producer_example
from examples.client import Client
from pipeline.config import ServeConfig, load_settings
from pipeline.eventlog import open_log
from pipeline.eventlog.intake import interaction_of, item_of
from pipeline.eventlog.port import read
from pipeline.eventlog.topics import Topics
from pipeline.events import Item
from pipeline.model.backbone import Backbone
from pipeline.rules.files import read_rules
from pipeline.rules.rule import KINDS, decode_rule, encode_rule
from tests.support.documents import ROOT
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until

LOCAL = "127.0.0.1"


@contextmanager
def answering(current: CurrentState, settings: ServeConfig) -> Iterator[str]:
    """A real HTTP server in a thread; its URL."""
    app = create_app(RecommendationService(current, context=5), settings)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.create_server((LOCAL, 0)) as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://{LOCAL}:{listening.getsockname()[1]}"
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


def test_the_client_asks_a_real_server(current: CurrentState, shop: World) -> None:
    with answering(current, shop.settings.serve) as url:
        client = Client(url)
        known = client.for_user("ann", k=3, session="new")
        assert (len(known["items"]), known["source"]) == (3, "model")
        assert client.for_user("a/b")["source"] == "popular"
        assert client.for_history(["red-cup", "blue-cup"])["source"] == "model"
        assert len(client.similar_to("red-cup", k=2)["items"]) == 2
        with pytest.raises(RuntimeError, match="Not Found: this item is in neither the catalogue"):
            client.similar_to("never")


def test_the_client_sends_a_key(current: CurrentState, shop: World) -> None:
    guarded = shop.settings.serve.model_copy(update={"api_keys": (SecretStr("secret"),)})
    with answering(current, guarded) as url:
        assert Client(url, key="secret").for_user("ann")["items"]
        with pytest.raises(RuntimeError, match="Unauthorized"):
            Client(url).for_user("ann")


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


def test_every_example_is_tested() -> None:
    files = {file.name for file in Path(ROOT / "examples").iterdir() if not file.name.startswith("_")}
    assert files == {"millstream.toml", "producer.py", "client.py", "rules.toml", "cookbook"}
