"""What unit tests share: a random language model, and a small model with its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from pipeline.config import Settings
from pipeline.demo.processes import free_port
from pipeline.metrics import Series, scrape, serve_metrics
from pipeline.model.backbone import Backbone, load_backbone
from tests.support.model_harness import ModelHarness, copy_of, tiny_settings
from tests.support.retrain_harness import learned_harness
from tests.support.tiny_backbone import tiny_backbone

# The same examples each time, and no clock: a busy machine must not fail a test.
hypothesis.settings.register_profile("calm", deadline=None, derandomize=True)
hypothesis.settings.load_profile("calm")
torch.set_num_threads(1)  # two threads on two busy cores are 4 to 8 times slower than one


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="session")
def backbone(backbone_folder: Path) -> Backbone:
    return load_backbone(str(backbone_folder))


@pytest.fixture(scope="session")
def exposed() -> Callable[[], Series]:
    """This process' metrics, as Prometheus reads them."""
    port = free_port()
    serve_metrics("127.0.0.1", port)
    return lambda: scrape(f"http://127.0.0.1:{port}/metrics")


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path) -> Path:
    """The folder of a mill that has learned all there is; tests work on copies of it."""
    return learned_harness(tmp_path_factory.mktemp("lived"), backbone_folder)


@pytest.fixture
def lived_harness(lived: Path, tmp_path: Path, backbone_folder: Path) -> Iterator[ModelHarness]:
    """A copy of it, of the test's own."""
    with copy_of(lived, tmp_path, backbone_folder) as harness:
        yield harness


@pytest.fixture
def settings(tmp_path: Path, backbone_folder: Path) -> Settings:
    return tiny_settings(tmp_path, backbone_folder)


@pytest.fixture
def harness(settings: Settings) -> Iterator[ModelHarness]:
    with ModelHarness(settings) as made:
        yield made
