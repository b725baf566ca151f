"""The sizes of the model that is there, beside those of the settings."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from pipeline.config import KEEPS_SIZES, Settings
from pipeline.doctor.finding import Finding, ok, warning

MANIFEST = "manifest.json"


def check(settings: Settings) -> Iterator[Finding]:
    """Compare the settings with the newest checkpoint, which the learner goes on from."""
    folder = settings.checkpoints.folder / settings.log.prefix
    manifests = [path for path in folder.glob(f"*-*/{MANIFEST}") if _version(path.parent.name)]
    if not manifests:
        return
    newest = max(manifests, key=lambda path: _version(path.parent.name))
    try:
        stored = orjson.loads(newest.read_bytes())["content"]["model"]
        differing = settings.learn.sizes.differing(stored)
    except (OSError, ValueError, LookupError, TypeError):
        return  # damaged: the learner takes the one before it
    if differing:
        yield warning("sizes", f"checkpoint {newest.parent.name}: {', '.join(differing)}", KEEPS_SIZES)
    else:
        yield ok("sizes", f"checkpoint {newest.parent.name} has the sizes of the settings")


def _version(name: str) -> tuple[int, ...]:
    """Generation and step; nothing for a folder of another name."""
    parts = name.split("-")
    return tuple(map(int, parts)) if len(parts) == 2 and all(map(str.isdecimal, parts)) else ()
