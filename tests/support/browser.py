"""A real browser for tests: Chromium from npm with its libraries, so that a bare machine needs no other host.

What is unpacked is kept in `.cache/browser`.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.documents import ROOT
from tests.support.npm import installed, missing_for_npm

PACKAGES = ROOT / "tests" / "browser"
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="relative">font-cache</cachedir></fontconfig>
"""
GRAVE = ("serious", "critical")


def missing_for_browser() -> str:
    """Say what the machine lacks to run the browser; empty if it lacks nothing."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "the browser is for Linux on x86_64"
    return missing_for_npm()


def unpacked() -> Path:
    """Return the folder of the browser; install it first if this version is not there."""
    return installed(PACKAGES, "browser", _unpack)


def _unpack(folder: Path) -> None:
    carried = folder / "node_modules" / "@sparticuz" / "chromium" / "bin"
    subprocess.run(["node", str(PACKAGES / "unpack.mjs"), str(carried), str(folder)], check=True)
    for name in ("al2023.tar", "fonts.tar"):
        with tarfile.open(folder / name) as archive:
            archive.extractall(folder, filter="data")
        (folder / name).unlink()
    (folder / "fonts.conf").write_text(FONTS)
    shutil.rmtree(carried)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless browser."""
    folder = unpacked()
    environment: dict[str, str | float | bool] = {
        **os.environ,
        "LD_LIBRARY_PATH": str(folder / "lib"),
        "FONTCONFIG_PATH": str(folder),
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=folder / "chromium", env=environment, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


def grave_faults(page: Page) -> list[str]:
    """Return the serious and critical faults that axe-core finds in a page, each with the first element."""
    page.evaluate((unpacked() / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found: dict[str, Any] = page.evaluate("axe.run()")
    return [
        f"{one['id']}: {one['help']}, at {one['nodes'][0]['html']}"
        for one in found["violations"]
        if one["impact"] in GRAVE
    ]
