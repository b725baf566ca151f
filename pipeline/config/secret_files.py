"""Settings from files: secrets as Kubernetes, Docker and systemd mount them, one file for each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic_settings import EnvSettingsSource

from pipeline.errors import InvalidSettings

FOLDER_VARIABLE = "MILLSTREAM_SECRETS"


def secret_files() -> dict[str, Path]:
    """List the files of the folder that ``MILLSTREAM_SECRETS`` names, by name.

    Raises:
        InvalidSettings: it is no folder, or may not be read.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return {}
    try:
        return {file.name: file for file in sorted(Path(folder).iterdir()) if file.is_file()}
    except OSError as error:
        raise InvalidSettings(
            f"{FOLDER_VARIABLE} names {folder}, which cannot be read: {error.strerror}; mount the folder of "
            "secrets there, or unset the variable"
        ) from None


class SecretFilesSource(EnvSettingsSource):
    """Reads each file whose name is that of a variable as the environment would hold it."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        prefix = self.env_prefix.lower()
        found = {name.lower(): file for name, file in secret_files().items()}
        return {name: _content(file) for name, file in found.items() if name.startswith(prefix)}


def _content(file: Path) -> str:
    """Read a secret; an editor's line break at its end and byte order mark before it are no part of it."""
    try:
        return file.read_text(encoding="utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        fault = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidSettings(
            f"{file} cannot be read: {fault}; let this user read it, or remove it"
        ) from None
