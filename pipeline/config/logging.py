"""Settings of the lines that processes write."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.base import Config

Level = Literal["info", "warning", "error", "critical"]
"""Without debug: there are no such lines of ours, and those of libraries contain passwords and records."""


class LoggingConfig(Config):
    """[logging] The lines that every process writes to stderr."""

    format: Literal["text", "json"] = "text"
    """`text` for people; `json` writes an object a line, with a field for each fact."""
    level: Level = "info"
    """Lines of lower levels are left out."""
    levels: dict[str, Level] = Field(default_factory=dict)
    """Levels of single loggers and all below them, by name, such as `consumers.serve` or `kafka`."""
