"""Watch what this process opens, creates, renames and removes: nothing outside the shop may be touched."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = frozenset(
    {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
)

COMPILED = "/__pycache__/"
"""The interpreter writes there what it has compiled."""


class Watch:
    """Records each file outside a folder that is written, and each file near the bait that is opened at all.

    A hook of the interpreter cannot be removed, so a watch that has ended stays, and does nothing.
    """

    def __init__(self, folder: Path, bait: Path) -> None:
        self.touched = set[str]()
        self._folder, self._bait = str(folder.resolve()), str(bait.parent.resolve())
        self._before = _listing(bait.parent)
        self._bait_folder, self._is_on = bait.parent, True
        sys.addaudithook(self._see)

    def end(self) -> list[str]:
        """Stop watching; return what was touched."""
        self._is_on = False
        changed = _listing(self._bait_folder) != self._before
        return sorted(self.touched) + ([f"{self._bait} has changed"] if changed else [])

    def _see(self, event: str, args: tuple[object, ...]) -> None:
        if not self._is_on or (event != "open" and event not in CHANGES):
            return
        flags = args[2] if event == "open" and isinstance(args[2], int) else 0
        is_changed = event in CHANGES or bool(flags & WRITING)
        for path in _paths(event, args):
            is_outside = not path.startswith((self._folder, "/dev/", "/proc/")) and COMPILED not in path
            if path.startswith(self._bait) or (is_changed and is_outside):
                self.touched.add(f"{event} {path}")


def _paths(event: str, args: tuple[object, ...]) -> Iterator[str]:
    """Yield the paths that an event is about; of a new link, where it is and not where it leads."""
    names = (
        args[1:2] if event in ("os.symlink", "os.link") else args[:2] if event == "os.rename" else args[:1]
    )
    folder = args[-1] if event in CHANGES and isinstance(args[-1], int) and args[-1] >= 0 else None
    for name in names:
        if isinstance(name, str | bytes | os.PathLike):
            within = "" if folder is None else os.readlink(f"/proc/self/fd/{folder}")  # noqa: PTH115
            # Not `Path.resolve`: a hook must not open anything.
            yield os.path.abspath(os.path.join(within, os.fsdecode(name)))  # noqa: PTH100, PTH118


def _listing(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Sizes, times and contents of all files."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns, p.read_bytes()) for p in files}
