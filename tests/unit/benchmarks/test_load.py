"""The load test in a short form: every user of a small shop, on 16 connections, while snapshots change."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx

from benchmarks.load import Load, load, users_of
from consumers.serve.daemon import serve
from pipeline.config import ModelConfig
from pipeline.datasets import open_dataset
from pipeline.demo.processes import free_port
from pipeline.model.backbone import Backbone
from producers.play import flat_out, play
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until

DATA = "shop:events=600,users=80,items=80,arrivals=0"
CONNECTIONS = 16


def test_all_users_of_a_data_set_are_answered_while_snapshots_are_swapped(
    tmp_path: Path, backbone: Backbone, backbone_folder: Path
) -> None:
    users = users_of(DATA)
    with World(tmp_path, backbone) as world, ThreadPoolExecutor(2) as threads:
        with world.log.writer() as writer:
            play(open_dataset(DATA), writer, world.topics, flat_out)
        world.learn()
        world.publish()
        port, stop = free_port(), Event()
        model = ModelConfig(backbone=str(backbone_folder), device="cpu", cache=tmp_path / "cache")
        server = world.settings.serve.model_copy(update={"port": port})
        settings = world.settings.model_copy(update={"model": model, "serve": server})
        serving = threads.submit(serve, settings, world.log, stop)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: is_ready(url) or serving.done())
            loading = threads.submit(load, url, users, CONNECTIONS, 3)
            while not loading.done():
                world.act("ann", "red-cup")
                world.learn()
                world.publish()
            found = loading.result()
        finally:
            stop.set()
        serving.result(timeout=10)
    assert len(users) > CONNECTIONS
    assert (found.statuses, found.failures) == (Counter({200: 3 * len(users)}), 0)
    assert found.sources["model"] == 3 * len(users)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_an_answer_that_is_not_2xx_and_a_server_that_is_not_there_are_failures() -> None:
    assert Load(Counter({200: 3, 204: 1, 503: 2, 0: 1}), Counter(), [0.1], 1.0).failures == 3
    nobody = load(f"http://127.0.0.1:{free_port()}", ["ann", "bob"], connections=2)
    assert (nobody.statuses, nobody.failures) == (Counter({0: 2}), 2)
