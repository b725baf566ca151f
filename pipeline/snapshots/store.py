"""The snapshot store: immutable versions under any fsspec URL.

``<store>/<model>/<version>/manifest.json + *.safetensors``. The manifest is written last, and
a reader verifies every file against it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import fsspec
import orjson
from fsspec.core import url_to_fs
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from torch import Tensor

from pipeline.errors import SnapshotCorrupt
from pipeline.snapshots.codec import apply_delta, full_snapshot
from pipeline.snapshots.snapshot import FORMAT, FileDigest, Manifest, Snapshot, Version

MANIFEST = "manifest.json"


class SnapshotStore:
    """Publishes, lists, loads and prunes the snapshots of one model."""

    def __init__(self, url: str, model: str) -> None:
        self._fs: fsspec.AbstractFileSystem
        self._fs, root = url_to_fs(url)
        self._root = f"{root.rstrip('/')}/{model}"
        self._full: Snapshot | None = None

    def versions(self) -> list[Version]:
        """All published versions, oldest first."""
        self._fs.invalidate_cache()
        manifests = self._fs.glob(f"{self._root}/*/{MANIFEST}")
        return sorted(Version.parse(path.split("/")[-2]) for path in manifests)

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> None:
        """Store a version: its files, then its manifest, without which the version does not exist."""
        folder = f"{self._root}/{manifest.version}"
        self._fs.makedirs(folder, exist_ok=True)
        for name, content in files.items():
            self._fs.pipe_file(f"{folder}/{name}", content)
        self._write_atomically(f"{folder}/{MANIFEST}", orjson.dumps(manifest.model_dump()))

    def manifest(self, version: Version) -> Manifest:
        """Read the manifest of a version.

        Raises:
            SnapshotCorrupt: it is missing, has an unknown format, or is of another version.
        """
        try:
            content = self._fs.cat_file(f"{self._root}/{version}/{MANIFEST}")
            _check_format(version, content)
            manifest = Manifest.model_validate_json(content)
        except FileNotFoundError:
            raise SnapshotCorrupt(
                f"snapshot {version} is not in the store: publish again or roll back"
            ) from None
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise SnapshotCorrupt(f"snapshot {version} has an unreadable manifest: {error}") from error
        if manifest.version != str(version):
            raise SnapshotCorrupt(f"snapshot {version} has the manifest of {manifest.version}")
        return manifest

    def load(self, version: Version) -> Snapshot:
        """Load and verify a version; apply a delta to its full snapshot.

        Raises:
            SnapshotCorrupt: a file is missing or differs from the manifest.
        """
        manifest = self.manifest(version)
        try:
            if manifest.kind == "delta":
                return apply_delta(self._full_of(manifest), manifest, self._files(manifest))
            self._full = full_snapshot(manifest, self._files(manifest))
            return self._full
        except (IndexError, KeyError, RuntimeError, ValueError) as error:
            raise SnapshotCorrupt(f"snapshot {version}: its files do not match: {error}") from error

    def prune(self, keep: int) -> None:
        """Remove all but the last `keep` versions and the full snapshots that these need."""
        versions = self.versions()
        kept = set(versions[-keep:])
        needed = {self.manifest(version).base for version in kept}
        for version in versions:
            if version not in kept and str(version) not in needed:
                self._fs.rm(f"{self._root}/{version}", recursive=True)

    def _full_of(self, delta: Manifest) -> Snapshot:
        """Load the full snapshot that a delta names; keep it, because the next delta likely names it too."""
        if self._full is None or self._full.manifest.version != delta.base:
            base = self.manifest(Version.parse(delta.base or ""))
            if base.kind != "full":
                raise SnapshotCorrupt(f"snapshot {delta.version} builds on {base.version}, which is not full")
            self._full = full_snapshot(base, self._files(base))
        return self._full

    def _files(self, manifest: Manifest) -> dict[str, dict[str, Tensor]]:
        return {name: self._verified(manifest, name, digest) for name, digest in manifest.files.items()}

    def _verified(self, manifest: Manifest, name: str, expected: FileDigest) -> dict[str, Tensor]:
        where = f"snapshot {manifest.version}, {name}"
        try:
            content = self._fs.cat_file(f"{self._root}/{manifest.version}/{name}")
            if digest_of(content) != expected:
                raise SnapshotCorrupt(f"{where}: its digest differs from the manifest; publish again")
            return read_tensors(content)
        except FileNotFoundError:
            raise SnapshotCorrupt(f"{where}: missing; publish again or roll back") from None
        except SafetensorError as error:
            raise SnapshotCorrupt(f"{where}: {error}") from error

    def _write_atomically(self, path: str, content: bytes) -> None:
        """Write a file through a temporary name, so that no reader sees it incomplete."""
        self._fs.pipe_file(f"{path}.part", content)
        self._fs.mv(f"{path}.part", path)


def _check_format(version: Version, manifest: bytes) -> None:
    """Refuse another format by name, before its fields are looked at."""
    fields = orjson.loads(manifest)
    found = fields.get("format") if isinstance(fields, dict) else None
    if found != FORMAT:
        raise SnapshotCorrupt(
            f"snapshot {version} has format {found}, and this millstream reads format {FORMAT}: let the "
            "learner publish again, or serve it with the millstream that wrote it"
        )


def digest_of(content: bytes) -> FileDigest:
    """Return digest and size of a file's content."""
    return FileDigest(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
