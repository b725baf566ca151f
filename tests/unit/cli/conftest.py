"""A working directory for commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import to_toml
from tests.support.model_harness import tiny_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, backbone_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the settings of a tiny model in its file."""
    settings = tiny_settings(tmp_path, backbone_folder)
    (tmp_path / "millstream.toml").write_text(to_toml(settings))
    monkeypatch.chdir(tmp_path)
    return tmp_path
