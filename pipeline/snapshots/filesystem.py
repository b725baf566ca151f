"""The file system of a snapshot store: opened by its URL, or refused with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import fsspec
from fsspec.core import url_to_fs

from pipeline.bounded import fault_of
from pipeline.errors import InvalidSettings, StorageUnavailable

MANIFEST = "manifest.json"
"""The file of a snapshot that is written last."""
FORMAT: Literal[6] = 6
"""5: a snapshot says how its catalogue is searched; its rows are in layers, which versions share. 6: content
is float16, as the learner keeps it."""


def open_filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Open the file system of a folder or of an fsspec URL; return it with the path in it.

    A message holds the scheme alone, because a URL may hold a password.

    Raises:
        InvalidSettings: the scheme is unknown, needs a package that is not installed, or settings.
        StorageUnavailable: it does not answer.
    """
    scheme = f"snapshots.store: {url.partition('://')[0][:40]}://"
    try:
        opened: tuple[fsspec.AbstractFileSystem, str] = url_to_fs(url)
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
    return opened


def local_path(url: str) -> Path | None:
    """Return the folder that an fsspec URL names, if it is one of this machine."""
    scheme, divided, rest = url.partition("://")
    if not divided:
        return Path(url)
    return Path(rest) if scheme in ("file", "local") else None
