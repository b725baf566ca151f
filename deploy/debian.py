"""Programs of Debian's packages: from the path, or unpacked in `.cache` without installing anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HOME = Path(__file__).parents[1] / ".cache"


def program(package: str, name: str) -> Path:
    """Return where a program is: on the path, or unpacked from a package.

    Raises:
        FileNotFoundError: it is neither, and this is no Debian with a network.
    """
    found = shutil.which(name)
    if found:
        return Path(found)
    files = [HOME / package / "usr" / folder / name for folder in ("bin", "sbin")]
    if not any(place.exists() for place in files):
        _unpack(package)
    unpacked = next((place for place in files if place.exists()), None)
    if unpacked is None:
        raise FileNotFoundError(f"Debian's package {package} has no program {name}")
    return unpacked


def environment(package: str) -> dict[str, str]:
    """Return this process's environment, and where the libraries of a package are."""
    libraries = [str(folder) for folder in (HOME / package / "usr" / "lib").glob("*-linux-gnu")]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {**os.environ}


def _unpack(package: str) -> None:
    """Download a package and what it needs that is not installed, and unpack all; leave nothing half-done."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise FileNotFoundError(f"{package} is not on the path, and this is no Debian: install it")
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        Path(folder).chmod(0o755)  # apt downloads as a user of its own
        said = _download(package, folder)
        if said:  # a bare machine knows no packages yet
            said = _apt("update", folder=folder)[1] or _download(package, folder)
        packages = list(Path(folder).glob("*.deb"))
        if not any(one.name.startswith(f"{package}_") for one in packages):
            raise FileNotFoundError(f"Debian's package {package} cannot be had: {said}")
        unpacked = Path(folder) / "unpacked"
        for one in packages:
            subprocess.run(["dpkg-deb", "--extract", str(one), str(unpacked)], check=True)
        if not (HOME / package).exists():
            unpacked.rename(HOME / package)


def _download(package: str, folder: str) -> str:
    """Download what an installation would; return what apt said if it failed."""
    planned, said = _apt("install", "--simulate", "--no-install-recommends", package, folder=folder)
    # Packages for any architecture have no libraries.
    needed = re.findall(r"^Inst (\S+) .*\[(?!all\])\S+\]", planned, flags=re.MULTILINE)
    return said or _apt("download", *needed, folder=folder)[1]


def _apt(*words: str, folder: str) -> tuple[str, str]:
    """Run apt-get; return what it printed, and what it said if it failed."""
    done = subprocess.run(["apt-get", *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout, (done.stderr.strip() or "it failed") if done.returncode else ""
