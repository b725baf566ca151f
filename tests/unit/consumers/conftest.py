"""Fixtures of the consumers' tests: a shop with a learner, a log, and servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.model.backbone import Backbone
from tests.support.serve_harness import World


@pytest.fixture
def world(tmp_path: Path, backbone: Backbone) -> Iterator[World]:
    with World(tmp_path, backbone) as made:
        yield made


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Iterator[World]:
    """A shop with a published snapshot, shared by tests that only read from it."""
    with World(tmp_path_factory.mktemp("shop"), backbone) as made:
        made.open()
        yield made
