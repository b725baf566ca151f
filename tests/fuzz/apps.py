"""The two applications to be fuzzed, each on a small shop of its own, with and without API keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from fastapi import FastAPI
from pydantic import SecretStr

from consumers.serve.http.app import create_app as create_server
from consumers.serve.service import RecommendationService
from pipeline.config import GatewayConfig, ServeConfig
from pipeline.model.backbone import load_backbone
from producers.gateway.app import create_app as create_gateway
from tests.support.gateway_harness import NOW, TOPICS, GatewayHarness
from tests.support.serve_harness import World
from tests.support.tiny_backbone import tiny_backbone

Maker = Callable[[Sequence[SecretStr]], FastAPI]
"""Makes an application with these keys."""


@contextmanager
def server(folder: Path) -> Iterator[Maker]:
    """Servers with a snapshot."""
    backbone = load_backbone(str(tiny_backbone(folder)))
    with World(folder, backbone) as shop:
        shop.open()
        with shop.server() as current:
            shop.shown(current)
            service = RecommendationService(current, context=5)
            yield lambda keys: create_server(service, ServeConfig(api_keys=tuple(keys)))


@contextmanager
def gateway(folder: Path) -> Iterator[Maker]:
    """Gateways with a log."""
    with GatewayHarness(folder) as harness:
        yield lambda keys: create_gateway(
            harness.writer, TOPICS, GatewayConfig(api_keys=tuple(keys)), clock=lambda: NOW
        )


APPS: Mapping[str, Callable[[Path], AbstractContextManager[Maker]]] = {"server": server, "gateway": gateway}
