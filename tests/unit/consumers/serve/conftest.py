"""Fixtures of the server's tests: a random language model, and a shop with a learner and a log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.model.backbone import Backbone, load_backbone
from tests.tiny import tiny_backbone
from tests.unit.consumers.serve.world import World


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="session")
def backbone(backbone_folder: Path) -> Backbone:
    torch.set_num_threads(1)
    return load_backbone(str(backbone_folder))


@pytest.fixture
def world(tmp_path: Path, backbone: Backbone) -> Iterator[World]:
    with World(tmp_path, backbone) as made:
        yield made


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Iterator[World]:
    """A shop that has published; for tests that only ask, because they share it."""
    with World(tmp_path_factory.mktemp("shop"), backbone) as made:
        made.open()
        yield made
