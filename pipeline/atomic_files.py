"""Write files so that a crash of the process or the machine leaves a complete file or none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until its content is on the disk.

    Its name is durable only after `sync_folder` of its folder.
    """
    with written_durably(path) as file:
        file.write(content)


@contextmanager
def written_durably(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written; at the end, wait until its content is on the disk."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, content: bytes) -> None:
    """Create or replace a file atomically and durably: readers see the old content or the new."""
    temporary = path.with_name(f"{path.name}.part")
    write_durably(temporary, content)
    temporary.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the file names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
