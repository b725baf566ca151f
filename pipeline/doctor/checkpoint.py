"""The newest checkpoint, beside the settings: how its model reads texts, its sizes, and its optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from pipeline.config import KEEPS_SIZES, KEEPS_TEXTS, Settings, differing_texts
from pipeline.doctor import backbone
from pipeline.doctor.finding import Finding, fault, ok, warning
from pipeline.model.backbone_files import locate
from pipeline.snapshots.filesystem import MANIFEST, open_model, versions_in

LEARNED = "learned.safetensors"
MARKS = {"exp_avg": "adamw", "momentum_buffer": "sgd", "row_var": "adafactor", "variance": "adafactor"}
"""Moments that one optimizer alone keeps."""
MOST_HEADER_BYTES = 16 << 20


def check(settings: Settings) -> Iterator[Finding]:
    """Compare the settings with the newest checkpoint, which the learner goes on from."""
    files, folder = open_model(str(settings.checkpoints.folder), settings.log.prefix)
    found = versions_in(files, folder)
    if not found:
        return
    newest = Path(folder, str(found[-1]))
    try:
        stored = orjson.loads((newest / MANIFEST).read_bytes())["content"]
        differing = settings.learn.sizes.differing(stored["model"])
        texts = _differing_texts(settings, stored)
        kinds = _optimizers(newest / LEARNED)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # damaged: the learner takes the one before it
    kind = settings.learn.optimizer.kind
    if texts:
        yield fault("checkpoint", f"{newest.name}: {', '.join(texts)}", KEEPS_TEXTS)
    if differing:
        yield warning("checkpoint", f"{newest.name}: {', '.join(differing)}", KEEPS_SIZES)
    if kinds - {kind}:
        text = f"{newest.name}: learn.optimizer.kind is {kind} in the settings and {min(kinds)} in it"
        yield warning("checkpoint", text, "set it back to keep the moments: those of the new one begin new")
    if not texts and not differing and not kinds - {kind}:
        text = f"{newest.name} has the language model, the sizes and the optimizer of the settings"
        yield ok("checkpoint", text)


def _differing_texts(settings: Settings, stored: Mapping[str, object]) -> list[str]:
    """See `differing_texts`; a language model that is not whole is the fault of another check."""
    if any(finding.state == "fault" for finding in backbone.check(settings)):
        return []
    digest = locate(settings.model.backbone, download=False)[1]
    return differing_texts(stored, digest, settings.model.max_tokens)


def _optimizers(file: Path) -> set[str]:
    """The kinds of the moments that a file has; only its header is read."""
    with file.open("rb") as opened:
        size = min(int.from_bytes(opened.read(8), "little"), MOST_HEADER_BYTES)
        names = orjson.loads(opened.read(size))
    return {MARKS[begin] for name in names if (begin := name.partition(".")[0]) in MARKS}
