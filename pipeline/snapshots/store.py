"""The snapshot store: immutable versions under any fsspec URL.

``<store>/<model>/<version>/manifest.json + *.safetensors``. The manifest is written last and
sealed. A reader verifies the seal before it reads the manifest, the bounds before it reads a file,
and the file's digest before it reads a tensor. Folders that are not named after a version are left
alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping

import orjson
from pydantic import SecretStr, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from torch import Tensor

from pipeline.bounded import fault_of
from pipeline.config import SnapshotConfig
from pipeline.errors import SnapshotCorrupt, SnapshotMissing
from pipeline.sealing import BrokenSeal, seal, sealed_digest, unseal
from pipeline.snapshots.bounds import check_base, check_manifest, tensors_in
from pipeline.snapshots.codec import apply_delta, full_snapshot
from pipeline.snapshots.filesystem import MANIFEST, open_filesystem
from pipeline.snapshots.snapshot import FORMAT, FileDigest, Manifest, Seal, Snapshot, Version
from pipeline.snapshots.values import check_values

MISMATCHES = ArithmeticError, LookupError, MemoryError, RuntimeError, SafetensorError, TypeError, ValueError
"""What reading files raises that are sealed and yet no snapshot."""

log = logging.getLogger(__name__)


class SnapshotStore:
    """Publishes, lists, loads and prunes the snapshots of one model."""

    def __init__(
        self,
        url: str,
        model: str,
        key: SecretStr | None = None,
        most_bytes: int = SnapshotConfig().most_bytes,
    ) -> None:
        """Open a store.

        Args:
            url: a folder, or any fsspec URL.
            model: whose snapshots.
            key: signs manifests that are published; those that are read must be signed with it.
            most_bytes: the largest manifest, and the largest files together, that are read.

        Raises:
            InvalidSettings: the URL has an unknown scheme, or one whose package is not installed.
            StorageUnavailable: the store does not answer.
        """
        self._fs, root = open_filesystem(url)
        self._root = f"{root.rstrip('/')}/{model}"
        self._model = model
        self._key = key.get_secret_value().encode() if key else None
        self._most_bytes = most_bytes
        self._full: tuple[str, Snapshot] | None = None

    @classmethod
    def of(cls, config: SnapshotConfig, model: str) -> SnapshotStore:
        """Open the store that the settings name."""
        return cls(config.store, model, config.key, config.most_bytes)

    def versions(self) -> list[Version]:
        """All published versions, oldest first."""
        self._fs.invalidate_cache()
        manifests = self._fs.glob(f"{self._root}/*/{MANIFEST}")
        found = (Version.named(path.split("/")[-2]) for path in manifests)
        return sorted(version for version in found if version is not None)

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Seal:
        """Store a version: its files, then its manifest, without which the version does not exist.

        Returns:
            The manifest's seal, to be announced.
        """
        folder = f"{self._root}/{manifest.version}"
        self._fs.makedirs(folder, exist_ok=True)
        for name, content in files.items():
            self._fs.pipe_file(f"{folder}/{name}", content)
        sealed = seal(orjson.dumps(manifest.model_dump()), FORMAT, self._key)
        self._write_atomically(f"{folder}/{MANIFEST}", sealed)
        return Seal(sealed_digest(sealed, FORMAT), len(sealed))

    def manifest(self, version: Version, announced: Seal | None = None) -> Manifest:
        """Read and verify the manifest of a version.

        Args:
            version: of the snapshot.
            announced: what the manifest must be; None to go by the seal in the store alone.

        Raises:
            SnapshotMissing: it is not in the store.
            SnapshotCorrupt: it is not what was sealed, has an unknown format or is out of bounds.
        """
        return self._sealed_manifest(version, announced)[0]

    def seal(self, version: Version) -> Seal:
        """Return the seal of a version, as it was announced.

        Raises:
            SnapshotMissing: it is not in the store.
            SnapshotCorrupt: it is not what was sealed, has an unknown format or is out of bounds.
        """
        return self._sealed_manifest(version, None)[1]

    def load(self, version: Version, announced: Seal | None = None) -> Snapshot:
        """Load and verify a version; apply a delta to its full snapshot.

        Args:
            version: of the snapshot.
            announced: what the manifest must be; None to go by the seal in the store alone.

        Raises:
            SnapshotMissing: it is not in the store.
            SnapshotCorrupt: a file is missing, differs from the manifest or holds impossible values.
        """
        manifest, found = self._sealed_manifest(version, announced)
        if manifest.kind == "delta":
            full = self._full_of(manifest)
            snapshot = _assembled(manifest, self._files(manifest), full)
        else:
            snapshot = _assembled(manifest, self._files(manifest), None)
            self._full = found.digest, snapshot
        return snapshot

    def prune(self, keep: int) -> None:
        """Remove all but the last `keep` versions and the full snapshots that these need.

        A version whose manifest cannot be read needs nothing, and one that cannot be removed stays:
        both are logged.
        """
        versions = self.versions()
        kept = set(versions[-keep:])
        needed = {self._base_of(version) for version in kept}
        for version in versions:
            if version not in kept and str(version) not in needed:
                self._remove(version)

    def _sealed_manifest(self, version: Version, announced: Seal | None) -> tuple[Manifest, Seal]:
        digest, size = announced or (None, None)
        try:
            sealed = self._read(f"{version}/{MANIFEST}", size)
            content = unseal(sealed, FORMAT, self._key, digest)
            manifest = Manifest.model_validate_json(content)
        except (FileNotFoundError, NotADirectoryError):
            raise SnapshotMissing(
                f"snapshot {version} is not in the store: publish again or roll back"
            ) from None
        except BrokenSeal as error:
            raise SnapshotCorrupt(
                f"snapshot {version}: its manifest is refused: {error}; let the learner publish again, or "
                "serve it with the millstream that wrote it"
            ) from None
        except ValidationError as error:
            raise SnapshotCorrupt(
                f"snapshot {version} has an unreadable manifest: {fault_of(error)}"
            ) from None
        if manifest.version != str(version):
            raise SnapshotCorrupt(f"snapshot {version} has the manifest of {manifest.version}; publish again")
        check_manifest(manifest, self._model, self._most_bytes)
        return manifest, Seal(sealed_digest(sealed, FORMAT), len(sealed))

    def _full_of(self, delta: Manifest) -> Snapshot:
        """Load the full snapshot that a delta names; keep it, because the next delta likely names it too."""
        digest = delta.base_digest or ""
        if self._full is None or self._full[0] != digest:
            base = self.manifest(Version.parse(delta.base or ""), Seal(digest, None))
            check_base(delta, base)
            self._full = digest, _assembled(base, self._files(base), None)
        check_base(delta, self._full[1].manifest)
        return self._full[1]

    def _files(self, manifest: Manifest) -> dict[str, dict[str, Tensor]]:
        return {name: self._verified(manifest, name, digest) for name, digest in manifest.files.items()}

    def _verified(self, manifest: Manifest, name: str, expected: FileDigest) -> dict[str, Tensor]:
        where = f"snapshot {manifest.version}, {name}"
        try:
            content = self._read(f"{manifest.version}/{name}", expected.size)
            if hashlib.sha256(content).hexdigest() != expected.sha256:
                raise SnapshotCorrupt(f"{where}: its digest differs from the manifest; publish again")
            if tensors_in(content) != expected.tensors:
                raise SnapshotCorrupt(f"{where}: it does not hold the tensors of the manifest; publish again")
            tensors = read_tensors(content)
            check_values(manifest, name, tensors)
        except (FileNotFoundError, NotADirectoryError):
            raise SnapshotCorrupt(f"{where}: missing; publish again or roll back") from None
        except MISMATCHES as error:
            raise SnapshotCorrupt(f"{where}: {error}; roll back") from error
        return tensors

    def _read(self, name: str, size: int | None) -> bytes:
        """Read a file of a known size, or of a bounded one if `size` is None.

        Raises:
            BrokenSeal: it is no plain file, or has another size.
        """
        path = f"{self._root}/{name}"
        self._fs.invalidate_cache(path.rpartition("/")[0])
        found = self._fs.info(path)
        if found["type"] != "file" or found.get("islink"):
            raise BrokenSeal(f"{name} is no plain file")
        if found["size"] > self._most_bytes or size not in (None, found["size"]):
            expected = f"at most {self._most_bytes}" if size is None else size
            raise BrokenSeal(f"{name} has {found['size']} bytes, not {expected}")
        content: bytes = self._fs.cat_file(path)
        return content

    def _base_of(self, version: Version) -> str | None:
        try:
            return self.manifest(version).base
        except SnapshotCorrupt as error:
            log.warning("%s; pruning goes on without it", error)
            return None

    def _remove(self, version: Version) -> None:
        try:
            self._fs.rm(f"{self._root}/{version}", recursive=True)
        except OSError as error:
            log.warning("snapshot %s cannot be removed: %s", version, error)

    def _write_atomically(self, path: str, content: bytes) -> None:
        """Write a file through a temporary name, so that no reader sees it incomplete."""
        self._fs.pipe_file(f"{path}.part", content)
        self._fs.mv(f"{path}.part", path)


def digest_of(content: bytes) -> FileDigest:
    """Return digest, size and tensors of a file's content."""
    return FileDigest(
        sha256=hashlib.sha256(content).hexdigest(), size=len(content), tensors=tensors_in(content)
    )


def _assembled(
    manifest: Manifest, files: Mapping[str, Mapping[str, Tensor]], full: Snapshot | None
) -> Snapshot:
    """Put a snapshot together from its files; a delta on top of the full one."""
    try:
        snapshot = apply_delta(full, manifest, files) if full else full_snapshot(manifest, files)
    except MISMATCHES as error:
        raise SnapshotCorrupt(f"snapshot {manifest.version}: its files do not match: {error}") from error
    if len(snapshot.items) != manifest.rows:
        raise SnapshotCorrupt(
            f"snapshot {manifest.version}: its {len(snapshot.items)} items do not match its {manifest.rows} "
            "rows; publish again"
        )
    return snapshot
