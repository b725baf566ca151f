"""Settings of daemons that tests start as processes: in a file that the environment names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import LogConfig, Settings, to_toml


def daemon_settings(folder: Path, monkeypatch: pytest.MonkeyPatch, **tables: Any) -> Settings:
    """Put settings with a log of the shop into a folder's file, and let processes find it."""
    log = LogConfig(
        url=f"sqlite:///{folder}/log.db",
        prefix="shop",
        partitions=2,
        retention_hours=1,
        compaction_lag_hours=1,
    )
    settings = Settings(log=log, **tables)
    file = folder / "millstream.toml"
    file.write_text(to_toml(settings))
    monkeypatch.setenv("MILLSTREAM_CONFIG", str(file))
    return settings
