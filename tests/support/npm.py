"""Packages of npm that tests run: a lock file pins versions and digests, and `.cache` keeps them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support.documents import ROOT


def missing_for_npm() -> str:
    """Say what the machine lacks to install packages; empty if it lacks nothing."""
    lacking = [name for name in ("node", "npm") if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not found (Node 20 or newer)" if lacking else ""


def installed(packages: Path, name: str, finish: Callable[[Path], None] = lambda folder: None) -> Path:
    """Return the folder of the packages of a lock file; install and `finish` it if it is not there."""
    lock, home = (packages / "package-lock.json").read_bytes(), ROOT / ".cache" / name
    folder = home / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as made:
            _install(packages, Path(made) / name)
            finish(Path(made) / name)
            shutil.rmtree(folder, ignore_errors=True)
            (Path(made) / name).rename(folder)
    return folder


def _install(packages: Path, folder: Path) -> None:
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(packages / name, folder)
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts")
    subprocess.run(["npm", "ci", *quiet], cwd=folder, check=True, capture_output=True)
