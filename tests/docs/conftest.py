"""A folder in which the commands of the docs run with a language model that takes milliseconds."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from consumers.serve.http.app import create_app
from consumers.serve.service import RecommendationService
from pipeline.config import ServeConfig
from pipeline.model.backbone import Backbone, load_backbone
from tests.support.app_transport import AppTransport
from tests.support.gateway_harness import NOW, GatewayHarness
from tests.support.serve_harness import World
from tests.support.tiny_backbone import tiny_backbone

torch.set_num_threads(1)
TRANSPORTS = (
    (httpx.HTTPTransport, "handle_request"),
    (httpx.AsyncHTTPTransport, "handle_async_request"),
)


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="session")
def backbone(backbone_folder: Path) -> Backbone:
    return load_backbone(str(backbone_folder))


@pytest.fixture
def services(
    tmp_path_factory: pytest.TempPathFactory, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GatewayHarness]:
    """A server and a gateway, which httpx finds where the docs say they are."""
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 1_000_000)  # the gateway's clock
    folder = tmp_path_factory.mktemp("services")
    with World(folder, backbone) as shop, GatewayHarness(folder / "gateway") as gateway:
        shop.upsert("85123A", "White enamel mug")
        shop.open()
        with shop.server() as current:
            shop.shown(current)
            server = create_app(RecommendationService(current, context=5), ServeConfig())
            apps = AppTransport({"127.0.0.1:8000": server, "127.0.0.1:8001": gateway.app})
            for transport, method in TRANSPORTS:
                monkeypatch.setattr(transport, method, getattr(apps, method))
            yield gateway


@pytest.fixture
def folder(tmp_path: Path, backbone_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory; default settings but for the backbone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLSTREAM_MODEL__BACKBONE", str(backbone_folder))
    monkeypatch.setenv("MILLSTREAM_MODEL__DEVICE", "cpu")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)
