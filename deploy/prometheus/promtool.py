"""Find promtool and Prometheus, or unpack them from Debian's package without installing it.

    python -m deploy.prometheus.promtool check rules deploy/prometheus/alerts.yaml

What is unpacked is kept in `.cache/prometheus`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

Program = Literal["promtool", "prometheus"]
HOME = Path(__file__).parents[2] / ".cache" / "prometheus"


def program(name: Program) -> Path:
    """Return where a program is: on the path, or unpacked.

    Raises:
        FileNotFoundError: it is neither, and this is no Debian with a network.
    """
    found = shutil.which(name)
    if found:
        return Path(found)
    unpacked = HOME / "usr" / "bin" / name
    if not unpacked.exists():
        _unpack()
    return unpacked


def _unpack() -> None:
    """Download Debian's package and unpack it; a half-done one is not left behind."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise FileNotFoundError("promtool is not on the path, and this is no Debian: install Prometheus")
    HOME.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME.parent) as folder:
        Path(folder).chmod(0o755)  # apt downloads as a user of its own
        said = _apt("download", "prometheus", folder=folder)
        if said:  # a bare machine knows no packages yet
            said = _apt("update", folder=folder) or _apt("download", "prometheus", folder=folder)
        packages = list(Path(folder).glob("prometheus_*.deb"))
        if not packages:
            raise FileNotFoundError(f"Debian's package of Prometheus cannot be had: {said}")
        unpacked = Path(folder) / "unpacked"
        subprocess.run(["dpkg-deb", "--extract", str(packages[0]), str(unpacked)], check=True)
        if not HOME.exists():
            unpacked.rename(HOME)


def _apt(*words: str, folder: str) -> str:
    """Run apt-get; return what it said if it failed."""
    done = subprocess.run(["apt-get", *words], cwd=folder, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or "it failed") if done.returncode else ""


if __name__ == "__main__":
    tool = program("promtool")
    os.execv(tool, [str(tool), *sys.argv[1:]])
