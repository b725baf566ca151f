"""The mappings of the bridge: whether each can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config import Settings
from pipeline.datasets.mapping import load_mapping
from pipeline.doctor.finding import Finding, fault, ok
from pipeline.errors import DatasetError


def check(settings: Settings) -> Iterator[Finding]:
    """Read the mapping of each topic of the bridge."""
    for topic, bridged in settings.bridge.topics.items():
        try:
            load_mapping(Path(bridged.mapping))
        except DatasetError as error:
            remedy = f"mend it, or set `bridge.topics.{topic}.mapping`; `millstream inspect` writes one"
            yield fault("mappings", str(error), remedy)
        else:
            yield ok("mappings", f"{topic} is read by {bridged.mapping}")
