"""The file system of a snapshot store: opened by its URL, or refused with the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pipeline.bounded import fault_of
from pipeline.errors import InvalidSettings, StorageUnavailable, StoreAway
from pipeline.snapshots.version import Version

MANIFEST = "manifest.json"
"""The file of a snapshot that is written last."""
FORMAT: Literal[6] = 6
"""5: a snapshot says how its catalogue is searched; its rows are in layers, which versions share. 6: content
is float16, as the learner keeps it."""
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az"})
"""Protocols of stores that have no folders."""


class StoreFiles:
    """The files of a store. All errors are OSErrors; those of a store elsewhere name the remedy.

    Attributes:
        is_local: whether the files are of this machine.
    """

    def __init__(self, filesystem: fsspec.AbstractFileSystem, scheme: str) -> None:
        self._fs, self._scheme = filesystem, scheme
        self.is_local = isinstance(filesystem, LocalFileSystem)
        protocol = filesystem.protocol
        protocols = {protocol} if isinstance(protocol, str) else {*protocol}
        self._has_folders = not protocols & OBJECT_STORES
        self._faults: tuple[type[Exception], ...] = (OSError, *_foreign_errors(protocols))

    def glob(self, pattern: str) -> list[str]:
        """List the paths that match, as they are now."""
        with self._translated():
            self._fs.invalidate_cache()
            return list(self._fs.glob(pattern))

    def info(self, path: str) -> dict[str, Any]:
        """Describe a file, as it is now."""
        with self._translated():
            self._fs.invalidate_cache(path.rpartition("/")[0])
            return dict(self._fs.info(path))

    def read(self, path: str) -> bytes:
        """Return what a file holds."""
        with self._translated():
            content: bytes = self._fs.cat_file(path)
            return content

    def make_folder(self, path: str) -> None:
        """Make a folder, unless there is one. Where there are none, fsspec would make a bucket."""
        if self._has_folders:
            with self._translated():
                self._fs.makedirs(path, exist_ok=True)

    def write(self, path: str, content: bytes) -> None:
        """Write a file whose name nobody knows yet."""
        with self._translated():
            self._fs.pipe_file(path, content)

    def write_whole(self, path: str, *content: bytes | memoryview) -> None:
        """Write a file through a temporary name, so that no reader sees it incomplete."""
        with self._translated():
            with self._fs.open(f"{path}.part", "wb") as file:
                file.writelines(content)
            self._fs.mv(f"{path}.part", path)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all in it."""
        with self._translated():
            self._fs.rm(path, recursive=True)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Let a file that is missing be missing, and a store elsewhere be away with a remedy.

        Raises:
            StoreAway: it does not answer, or refuses the login.
        """
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise
        except self._faults as error:
            if self.is_local:
                raise
            raise StoreAway(f"{self._scheme} {_fault(error)}") from error


def open_filesystem(url: str) -> tuple[StoreFiles, str]:
    """Open the file system of a folder or of an fsspec URL; return it with the path in it.

    A message holds the scheme alone, because a URL may hold a password.

    Raises:
        InvalidSettings: the scheme is unknown, needs a package that is not installed, or settings.
        StorageUnavailable: it does not answer.
    """
    scheme = f"snapshots.store: {url.partition('://')[0][:40]}://"
    try:
        filesystem, root = url_to_fs(url)
    except ImportError as error:
        raise InvalidSettings(
            f"{scheme} needs a package that is not installed: {fault_of(error)}, with pip, wherever learner, "
            "servers and this command run"
        ) from None
    except (TypeError, ValueError) as error:
        raise InvalidSettings(
            f"{scheme} cannot be opened: {fault_of(error)}; name a folder, or a URL such as s3://bucket/path"
        ) from None
    except OSError as error:
        raise StorageUnavailable(f"{scheme} does not answer: {fault_of(error)}") from error
    return StoreFiles(filesystem, scheme), root


def open_model(url: str, model: str) -> tuple[StoreFiles, str]:
    """Open the file system of a store; return it with the path of a model's folder in it, see above."""
    files, root = open_filesystem(url)
    return files, f"{root.rstrip('/')}/{model}"


def versions_in(files: StoreFiles, folder: str) -> list[Version]:
    """List the versions that a model's folder holds, oldest first; folders of other names are strangers'."""
    found = (Version.named(path.split("/")[-2]) for path in files.glob(f"{folder}/*/{MANIFEST}"))
    return sorted(version for version in found if version is not None)


def _foreign_errors(protocols: Set[str]) -> tuple[type[Exception], ...]:
    """List the errors of a backend that are no OSErrors."""
    if "s3" not in protocols:
        return ()
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 (of the extra s3)

    return BotoCoreError, ClientError


def _fault(error: Exception) -> str:
    """Say what is wrong with a store elsewhere, and the remedy."""
    if isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError":
        return (
            f"refuses this login ({fault_of(error)}); check its key and rights: for s3, AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, and what docs/deployment.md lists"
        )
    return f"does not answer ({fault_of(error)}); check the network, and for s3 AWS_ENDPOINT_URL"


def local_path(url: str) -> Path | None:
    """Return the folder that an fsspec URL names, if it is one of this machine."""
    scheme, divided, rest = url.partition("://")
    if not divided:
        return Path(url)
    return Path(rest) if scheme in ("file", "local") else None
