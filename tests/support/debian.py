"""Programs from the path or Debian's packages; elsewhere their tests are skipped aloud."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.debian import program


def debian_program(package: str, name: str) -> Path:
    """The path of a program; skips the test where it cannot be had, except under CI."""
    try:
        return program(package, name)
    except FileNotFoundError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
