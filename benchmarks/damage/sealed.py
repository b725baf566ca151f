"""Sealed files and records: damaged under the old seal, or forged with a new one that fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

import orjson

from benchmarks.damage.changes import DAMAGES, forge, hostile_json
from pipeline.sealing import seal, seal_record, sealed_digest, unseal

MANIFEST = "manifest.json"
LAYERS = "../layers"
"""The folder of the layers that snapshots share, from the folder of one."""


class Gone(Enum):
    """What stands in the place of a file, instead of a plain one."""

    MISSING = "missing"
    FOLDER = "a folder"
    LINK = "a link"


Stored = bytes | Gone


@dataclass(frozen=True)
class Damaged:
    """Files to be stored, and what was done to which of them."""

    files: Mapping[str, Stored]
    part: str
    damage: str


@dataclass(frozen=True)
class SealedFiles:
    """A manifest and its files as they were written.

    Attributes:
        form: format of the seal.
        entry_of: the manifest's entry about a file's content.
    """

    files: Mapping[str, bytes]
    form: int
    entry_of: Callable[[bytes], dict[str, Any]]

    @property
    def manifest(self) -> dict[str, Any]:
        """The fields of the manifest."""
        fields: dict[str, Any] = json.loads(self._content)
        return fields

    @property
    def digest(self) -> str:
        """The digest in the seal."""
        return sealed_digest(self.files[MANIFEST], self.form)

    def with_manifest(self, **changes: object) -> SealedFiles:
        """Change fields of the manifest and seal it again."""
        content = orjson.dumps({**self.manifest, **changes})
        files = {**self.files, MANIFEST: seal(content, self.form)}
        return SealedFiles(files, self.form, self.entry_of)

    def broken(self, random: Random, part: str | None = None) -> Damaged:
        """Damage one file, a given one or any, or swap two; all seals and digests stay as they were."""
        name = part or random.choice(sorted(self.files))
        other = random.choice(sorted(self.files.keys() - {name}))
        damage = random.choice((*DAMAGES, *DAMAGES, "forged", "swapped", *Gone))
        if isinstance(damage, Gone):
            return Damaged({**self.files, name: damage}, name, damage.value)
        if damage == "swapped":
            swapped = {name: self.files[other], other: self.files[name]}
            return Damaged({**self.files, **swapped}, f"{name}, {other}", damage)
        if name == MANIFEST:
            stored, damage = broken_file(self.files[name], self.form, random)
        elif damage == "forged":
            stored = forge(name, self.files[name], random)
        else:
            stored = DAMAGES[damage](self.files[name], random)
        return Damaged({**self.files, name: stored}, name, damage)

    def forged(self, random: Random, part: str | None = None) -> Damaged:
        """Change one file, a given one or any, as a forger would, and write digests and seals that fit."""
        name = part or (MANIFEST if random.random() < 0.5 else random.choice(sorted(self.files)))
        damage = random.choice(("forged", "forged", "forged", *DAMAGES))
        change = forge if damage == "forged" else lambda _, content, drawn: DAMAGES[damage](content, drawn)
        if name == MANIFEST:
            return self._resealed(self.files, change(name, self._content, random), name, damage)
        content = change(name, self.files[name], random)
        fields = self.manifest
        stored_as = self._described(fields, name, content)
        return self._resealed({**self.files, stored_as: content}, orjson.dumps(fields), name, damage)

    def _described(self, fields: dict[str, Any], name: str, content: bytes) -> str:
        """Let the fields of a manifest describe another content of a file; return the file's name then."""
        try:
            entry = self.entry_of(content)
        except (ValueError, TypeError, KeyError):  # no readable header to copy claims from
            entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for layer in fields.get("layers", ()):
            if layer_name(layer) == name:
                layer.update(entry)
                return layer_name(layer)
        fields["files"][name] |= entry
        return name

    def _resealed(self, files: Mapping[str, bytes], content: bytes, part: str, damage: str) -> Damaged:
        return Damaged({**files, MANIFEST: seal(content, self.form)}, part, damage)

    @property
    def _content(self) -> bytes:
        return unseal(self.files[MANIFEST], self.form)


def layer_name(layer: Mapping[str, Any]) -> str:
    """Return the name of the file of a layer, from the folder of a snapshot."""
    return f"{LAYERS}/{layer['sha256']}.safetensors"


def kind_of(part: str) -> str:
    """Return whether the manifest or other files were damaged."""
    return "manifest" if part == MANIFEST else "files"


def store(folder: Path, files: Mapping[str, Stored], bait: Path) -> None:
    """Write files into a folder; a link leads to a copy of the right content beside the bait."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)  # a layer is there already
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is Gone.FOLDER:
            (folder / name).mkdir()
        elif content is Gone.LINK:
            (folder / name).symlink_to(bait)


def broken_file(sealed: bytes, form: int, random: Random) -> tuple[bytes, str]:
    """Damage a sealed file that stands alone; its seal stays as it was."""
    damage = random.choice((*DAMAGES, "forged"))
    if damage != "forged":
        return DAMAGES[damage](sealed, random), damage
    content = unseal(sealed, form)
    return sealed.replace(content, hostile_json(content, random)), damage


def broken_record(wire: bytes, random: Random) -> tuple[bytes, str]:
    """Damage a record; its seal stays as it was."""
    damage = random.choice((*DAMAGES, "forged"))
    if damage != "forged":
        return DAMAGES[damage](wire, random), damage
    fields = orjson.loads(wire)
    kept = fields.pop("seal")
    return _with_seal(hostile_json(orjson.dumps(fields), random), kept), damage


def forged_record(wire: bytes, random: Random, about: str = "") -> tuple[bytes, str]:
    """Change a record as a forger would, under a seal that fits, or without one, as old records are."""
    fields = orjson.loads(wire)
    del fields["seal"]
    text = hostile_json(orjson.dumps(fields), random)
    if random.random() < 0.2:
        return text, "forged, no seal"
    try:
        fitting = orjson.loads(seal_record(orjson.loads(text), about))["seal"]
    except (ValueError, TypeError):  # orjson reads or writes no such value: no seal can fit it
        fitting = "0" * 16
    return _with_seal(text, fitting), "forged"


def _with_seal(text: bytes, value: str) -> bytes:
    if not text.endswith(b"}"):
        return text
    return text[:-1] + b',"seal":"' + value.encode() + b'"}'
