"""The snapshot store: immutable versions under any fsspec URL.

``<store>/<model>/<version>/manifest.json + *.safetensors``, and ``<store>/<model>/layers/*.safetensors``,
which versions share. The manifest is sealed and written last. A reader verifies the seal before it reads the
manifest, the bounds before it reads a file, and the file's digest before it reads a tensor. Folders that are
not named after a version are left alone.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import orjson
import torch
from pydantic import SecretStr, ValidationError
from torch import Tensor

from pipeline.bounded import fault_of
from pipeline.config import SnapshotConfig
from pipeline.errors import SnapshotCorrupt, SnapshotMissing
from pipeline.model.tensors import under
from pipeline.sealing import BrokenSeal, is_of_earlier_format, seal, sealed_digest, unseal
from pipeline.snapshots.announcement import Seal
from pipeline.snapshots.bounds import LAYERS, check_manifest, layer_path
from pipeline.snapshots.codec import ENCODER, LEARNED, VALUES, Content, arrays_in, has_forms, tensors_in
from pipeline.snapshots.filesystem import FORMAT, MANIFEST, open_model, versions_in
from pipeline.snapshots.layer import Array, Layer, layer_of
from pipeline.snapshots.snapshot import FileDigest, LayerFile, Manifest, Snapshot, Update
from pipeline.snapshots.table import SnapshotTable
from pipeline.snapshots.values import check_layer, check_learned
from pipeline.snapshots.version import Version

T = TypeVar("T")
MAPPED_BYTES = 2**24
"""Size from which a local file is mapped: reading a smaller one costs little."""
MISMATCHES = ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError
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
        self._fs, self._root = open_model(url, model)
        self._model = model
        self._key = key.get_secret_value().encode() if key else None
        self._most_bytes = most_bytes
        self._named: dict[Version, frozenset[str]] = {}

    @classmethod
    def of(cls, config: SnapshotConfig, model: str) -> SnapshotStore:
        """Open the store that the settings name."""
        return cls(config.store, model, config.key, config.most_bytes)

    def versions(self) -> list[Version]:
        """All published versions, oldest first."""
        return versions_in(self._fs, self._root)

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Seal:
        """Store a version: its files, then its manifest, without which the version does not exist.

        Returns:
            The manifest's seal, to be announced.
        """
        folder = f"{self._root}/{manifest.version}"
        self._fs.make_folder(folder)
        for name, content in files.items():
            self._fs.write(f"{folder}/{name}", content)
        sealed = seal(orjson.dumps(manifest.model_dump()), FORMAT, self._key)
        self._fs.write_whole(f"{folder}/{MANIFEST}", sealed)
        self._named[Version.parse(manifest.version)] = frozenset(map(layer_path, manifest.layers))
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

    def put_layer(self, content: Sequence[bytes | memoryview], after: int | None, through: int) -> LayerFile:
        """Store a layer; no version has it until a manifest names it.

        Args:
            content: the file, in pieces; the first has its header.
            after, through: the steps whose changes it holds.
        """
        layer = LayerFile(**dict(digest_of(*content)), after=after, through=through)
        self._fs.make_folder(f"{self._root}/{LAYERS}")
        self._fs.write_whole(f"{self._root}/{layer_path(layer)}", *content)
        return layer

    def layer(self, layer: LayerFile) -> Layer:
        """Read a layer and verify that it is what was stored.

        Raises:
            SnapshotCorrupt: it is missing or damaged.
        """
        return _checked(layer_path(layer), lambda: layer_of(self._arrays(layer)))

    def load(self, version: Version, announced: Seal | None = None) -> Snapshot:
        """Load and verify a version; a store in a local folder maps its first layer.

        Args:
            version: of the snapshot.
            announced: what the manifest must be; None to go by the seal in the store alone.

        Raises:
            SnapshotMissing: it is not in the store.
            SnapshotCorrupt: it is not what was sealed, is incomplete, has an unknown format or
                holds impossible values.
        """
        manifest = self.manifest(version, announced)
        return Snapshot.of(self._update(manifest, manifest.layers, SnapshotTable()))

    def is_of_earlier_release(self, version: Version) -> bool:
        """Whether an earlier release wrote a version, all of which is as it was written.

        Its format is an earlier one, or its manifest lacks what this release writes.
        """
        try:
            sealed = bytes(self._read(f"{version}/{MANIFEST}", None))
            if is_of_earlier_format(sealed, FORMAT):
                return True
            manifest = Manifest.model_validate_json(unseal(sealed, FORMAT, self._key))
            for name, file in manifest.files.items():
                self._verified(f"{version}/{name}", file)
            for layer in manifest.layers:
                self._verified(layer_path(layer), layer)
        except (ValueError, OSError):
            return False
        return not Manifest.model_fields.keys() <= manifest.model_fields_set

    def changes(self, manifest: Manifest, held: Snapshot) -> Update | None:
        """Read and verify what makes a version of an earlier one that is held.

        Apply it with `Snapshot.updated`, in time proportional to what changed since. None if the
        versions do not share their first layer, or the held one is later: load the whole one then.

        Args:
            manifest: of the version, as `manifest` returned it.
            held: as it was loaded, or updated.

        Raises:
            SnapshotCorrupt: as `load`; what is held is as it was.
        """
        step, found = Version.parse(held.manifest.version).step, Version.parse(manifest.version)
        same = (found.generation, manifest.layers[0]) == (
            Version.parse(held.manifest.version).generation,
            held.manifest.layers[0],
        )
        if not same or step > found.step:
            return None
        layers = [layer for layer in manifest.layers if layer.through > step]
        return self._update(manifest, layers, held.table)

    def prune(self, keep: int) -> None:
        """Remove all but the last `keep` versions, and the layers that only the removed ones had.

        A version whose manifest cannot be read has no layers, and one that cannot be removed stays:
        both are logged.
        """
        versions = self.versions()
        kept, removed = versions[-keep:], versions[:-keep]
        unused = self._layers_of(removed) - self._layers_of(kept)
        for version in removed:
            self._remove(str(version))
            self._named.pop(version, None)
        for path in sorted(unused):
            self._remove(path)

    def sweep(self) -> None:
        """Remove the layers that no version has: those of publications that were never finished.

        For a learner that starts: the layers of its own publications have versions soon.
        """
        found = {path.removeprefix(f"{self._root}/") for path in self._fs.glob(f"{self._root}/{LAYERS}/*")}
        for path in sorted(found - self._layers_of(self.versions())):
            self._remove(path)

    def _sealed_manifest(self, version: Version, announced: Seal | None) -> tuple[Manifest, Seal]:
        digest, size = announced or (None, None)
        try:
            sealed = self._read(f"{version}/{MANIFEST}", size)
            content = unseal(bytes(sealed), FORMAT, self._key, digest)
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
                f"snapshot {version} has an unreadable manifest: {fault_of(error)}; let the learner publish "
                "again, or serve it with the millstream that wrote it"
            ) from None
        if manifest.version != str(version):
            raise SnapshotCorrupt(f"snapshot {version} has the manifest of {manifest.version}; publish again")
        check_manifest(manifest, self._model, self._most_bytes)
        return manifest, Seal(sealed_digest(bytes(sealed), FORMAT), len(sealed))

    def _update(self, manifest: Manifest, layers: Sequence[LayerFile], table: SnapshotTable) -> Update:
        """Read what a version has of its own, and layers, and check that they fit a table."""
        where = f"snapshot {manifest.version}"
        own = {name: self._own(manifest, name, file) for name, file in manifest.files.items()}
        read = [self._layer_in(manifest, layer) for layer in layers]
        _checked(where, lambda: table.check(read, manifest.rows))
        learned = own[LEARNED]
        return Update(
            manifest,
            own.get(ENCODER, {}),
            under("learned.", learned),
            learned["mixer"],
            learned["ratings"],
            own.get(VALUES, {}),
            under("latest.", learned),
            read,
            is_whole=len(layers) == len(manifest.layers),
        )

    def _own(self, manifest: Manifest, name: str, file: FileDigest) -> dict[str, Tensor]:
        def read() -> dict[str, Tensor]:
            content = self._verified(f"{manifest.version}/{name}", file)
            tensors = {of: torch.from_numpy(array) for of, array in arrays_in(content, file.tensors).items()}
            check_learned(tensors, manifest.rows)
            return tensors

        return _checked(f"snapshot {manifest.version}, {name}", read)

    def _layer_in(self, manifest: Manifest, file: LayerFile) -> Layer:
        def read() -> Layer:
            layer = layer_of(self._arrays(file))
            check_layer(layer, manifest)
            return layer

        return _checked(f"snapshot {manifest.version}, {layer_path(file)}", read)

    def _arrays(self, file: LayerFile) -> dict[str, Array]:
        return arrays_in(self._verified(layer_path(file), file), file.tensors)

    def _verified(self, path: str, expected: FileDigest) -> Content:
        """Read a file that must be what a manifest says.

        Raises:
            ValueError: it is not.
        """
        content = self._read(path, expected.size)
        if hashlib.sha256(content).hexdigest() != expected.sha256:
            raise ValueError("its digest differs from the manifest")
        if not has_forms(content, expected.tensors):
            raise ValueError("it does not hold the tensors of the manifest")
        return content

    def _read(self, name: str, size: int | None) -> Content:
        """Read a file of a known size, or of a bounded one if `size` is None; map a large local one.

        Raises:
            BrokenSeal: it is no plain file, or has another size.
        """
        path = f"{self._root}/{name}"
        found = self._fs.info(path)
        if found["type"] != "file" or found.get("islink"):
            raise BrokenSeal(f"{name} is no plain file")
        if found["size"] > self._most_bytes or size not in (None, found["size"]):
            expected = f"at most {self._most_bytes}" if size is None else size
            raise BrokenSeal(f"{name} has {found['size']} bytes, not {expected}")
        if found["size"] >= MAPPED_BYTES and self._fs.is_local:
            return mapped(path)
        return bytearray(self._fs.read(path))

    def _layers_of(self, versions: Iterable[Version]) -> set[str]:
        """Return the paths of the layers of versions."""
        return {path for version in versions for path in self._named_by(version)}

    def _named_by(self, version: Version) -> frozenset[str]:
        if version not in self._named:
            try:
                manifest = self.manifest(version)
            except SnapshotCorrupt as error:
                log.warning("%s; pruning goes on without it", error)
                return frozenset()
            self._named[version] = frozenset(map(layer_path, manifest.layers))
        return self._named[version]

    def _remove(self, path: str) -> None:
        try:
            self._fs.remove(f"{self._root}/{path}")
        except OSError as error:
            log.warning("snapshot %s cannot be removed: %s", path, error)


def digest_of(*content: bytes | memoryview) -> FileDigest:
    """Return digest, size and tensors of a file's content, given in pieces, the first with its header."""
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
    return FileDigest(sha256=digest.hexdigest(), size=sum(map(len, content)), tensors=tensors_in(content[0]))


def mapped(path: str) -> mmap.mmap:
    """Map a local file: its bytes are read when they are needed, and changes to them stay in memory."""
    with Path(path).open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _checked(where: str, read: Callable[[], T]) -> T:
    """Read something of a snapshot.

    Raises:
        SnapshotCorrupt: it is missing, or not what it should be; says where.
    """
    try:
        return read()
    except (FileNotFoundError, NotADirectoryError):
        raise SnapshotCorrupt(f"{where}: missing; publish again or roll back") from None
    except MISMATCHES as error:
        raise SnapshotCorrupt(f"{where}: {error}; publish again or roll back") from error
